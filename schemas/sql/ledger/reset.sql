-- Drop receipts (and with them the failures they name), so that the units run again.
with dropped as (
    delete from skymill.receipt
    where run_id = %(run_id)s and stage = %(stage)s and key = any(%(keys)s::text[])
)
update skymill.unit set state = 'pending', receipt_attempt = null
where run_id = %(run_id)s and stage = %(stage)s and key = any(%(keys)s::text[]) and state = 'done';
