-- Units of a stage with an object that failed for a reason that may pass.
select distinct key
from skymill.object_failure
where run_id = %(run_id)s and stage = %(stage)s and not permanent
order by key;
