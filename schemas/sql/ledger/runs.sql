-- All runs of this database.
select r.name, r.digest, r.code_version, r.seed, r.created, r.opened, count(u.key),
    count(u.key) filter (where u.state = 'done')
from skymill.run r left join skymill.unit u using (run_id)
group by r.run_id
order by r.opened desc;
