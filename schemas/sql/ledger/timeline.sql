-- Receipts of a stage in the order in which they came.
select ended, rows, bytes, seconds, worker
from skymill.receipt
where run_id = %(run_id)s and stage = %(stage)s
order by ended, key;
