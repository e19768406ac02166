-- Who has the run.
select a.pid, a.application_name, coalesce(a.client_addr::text, 'local'), a.backend_start
from pg_locks l join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.granted
    and l.database = (select oid from pg_database where datname = current_database())
    and l.classid = 7303034
    and l.objid = hashtext(%(name)s)::bit(32)::bigint::oid;
