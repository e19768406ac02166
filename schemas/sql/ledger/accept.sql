-- Take a receipt; the unit is done.
with kept as (
    insert into skymill.receipt
        (run_id, stage, key, attempt, inputs, rows, bytes, seconds, digest, products, facts, worker)
    values
        (%(run_id)s, %(stage)s, %(key)s, %(attempt)s, %(inputs)s, %(rows)s, %(bytes)s, %(seconds)s,
        %(digest)s, %(products)s, %(facts)s, %(worker)s)
), ended as (
    update skymill.attempt set outcome = 'accepted', ended = clock_timestamp(), worker = %(worker)s
    where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s and attempt = %(attempt)s
)
update skymill.unit set state = 'done', receipt_attempt = %(attempt)s, error = null
where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s;
