-- Objects that could not be had.
select stage, key, attempt, sample, "row", id, status, reason, permanent, detail
from skymill.object_failure
where run_id = %(run_id)s
order by sample, "row", stage
limit %(limit)s;
