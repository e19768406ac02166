-- What a dead driver left running is to be done again.
with left_over as (
    update skymill.attempt set outcome = 'abandoned', ended = clock_timestamp()
    where run_id = %(run_id)s and outcome is null
)
update skymill.unit set state = 'pending' where run_id = %(run_id)s and state = 'running';
