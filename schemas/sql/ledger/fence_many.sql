-- Lock units, always in the same order; true for each attempt that has the right to its result.
select u.stage, u.key, u.attempt = a.attempt and u.inputs = a.inputs and u.state <> 'done'
from skymill.unit u join json_to_recordset(%(results)s::json)
    as a (stage text, key text, inputs text, attempt integer) using (stage, key)
where u.run_id = %(run_id)s
order by u.stage, u.key
for update of u;
