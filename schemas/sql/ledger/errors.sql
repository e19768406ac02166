-- Units that failed for good, with the message.
select stage, key, attempt, error
from skymill.unit
where run_id = %(run_id)s and state = 'failed'
order by stage, key;
