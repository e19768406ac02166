-- Objects that could not be had, counted.
select sample, reason, permanent, count(*)
from skymill.object_failure
where run_id = %(run_id)s
group by sample, reason, permanent
order by sample, permanent, count(*) desc, reason;
