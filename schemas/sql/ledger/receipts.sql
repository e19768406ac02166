-- Receipts in force of a stage.
select key, inputs, rows, bytes, seconds, digest, products, facts, worker
from skymill.receipt
where run_id = %(run_id)s and stage = %(stage)s
order by key;
