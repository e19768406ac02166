-- How far every stage is.
select u.stage, u.state, count(*), coalesce(sum(r.rows), 0)::bigint, coalesce(sum(r.bytes), 0)::bigint,
    coalesce(sum(r.seconds), 0)
from skymill.unit u left join skymill.receipt r using (run_id, stage, key)
where u.run_id = %(run_id)s
group by u.stage, u.state
order by u.stage, u.state;
