-- Hand a unit out: the new attempt number is its fencing token.
with handed_out as (
    update skymill.unit set state = 'running', attempt = attempt + 1, error = null
    where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s and inputs = %(inputs)s
        and state <> 'done'
    returning *
)
insert into skymill.attempt (run_id, stage, key, attempt, inputs)
select run_id, stage, key, attempt, inputs from handed_out
returning attempt;
