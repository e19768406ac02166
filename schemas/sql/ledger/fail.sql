-- An attempt failed; the unit is failed (final) or waits for the next attempt, unless a newer one runs.
with ended as (
    update skymill.attempt set outcome = 'failed', ended = clock_timestamp(), error = %(error)s
    where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s and attempt = %(attempt)s
        and outcome is null
)
update skymill.unit set state = %(state)s::skymill.unit_state, error = %(error)s
where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s and attempt = %(attempt)s
    and state = 'running';
