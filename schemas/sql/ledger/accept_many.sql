-- Take receipts; their units are done.
with given as materialized (
    select * from json_to_recordset(%(results)s::json) as r (stage text, key text, attempt integer, inputs text,
        rows bigint, bytes bigint, seconds double precision, digest text, products jsonb, facts jsonb, worker text)
), kept as (
    insert into skymill.receipt
        (run_id, stage, key, attempt, inputs, rows, bytes, seconds, digest, products, facts, worker)
    select %(run_id)s, stage, key, attempt, inputs, rows, bytes, seconds, digest, products, facts, worker from given
), ended as (
    update skymill.attempt a set outcome = 'accepted', ended = clock_timestamp(), worker = g.worker
    from given g
    where a.run_id = %(run_id)s and (a.stage, a.key, a.attempt) = (g.stage, g.key, g.attempt)
)
update skymill.unit u set state = 'done', receipt_attempt = g.attempt, error = null
from given g
where u.run_id = %(run_id)s and (u.stage, u.key) = (g.stage, g.key);
