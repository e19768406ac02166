-- Lock the unit; true when this attempt has the right to its result.
select attempt = %(attempt)s and inputs = %(inputs)s and state <> 'done'
from skymill.unit
where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s
for update;
