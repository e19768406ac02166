-- Hand units out, all or none: each new attempt number is its unit's fencing token.
with asked as materialized (
    select * from json_to_recordset(%(units)s::json) as u (stage text, key text, inputs text)
), handed_out as (
    update skymill.unit u set state = 'running', attempt = u.attempt + 1, error = null
    from asked a
    where u.run_id = %(run_id)s and (u.stage, u.key, u.inputs) = (a.stage, a.key, a.inputs) and u.state <> 'done'
    returning u.run_id, u.stage, u.key, u.attempt, u.inputs
)
insert into skymill.attempt (run_id, stage, key, attempt, inputs)
select run_id, stage, key, attempt, inputs from handed_out
returning stage, key, attempt;
