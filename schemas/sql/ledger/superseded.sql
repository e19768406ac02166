-- A late twin: its result is not taken.
update skymill.attempt set outcome = 'superseded', ended = clock_timestamp(), worker = %(worker)s
where run_id = %(run_id)s and stage = %(stage)s and key = %(key)s and attempt = %(attempt)s
    and (outcome is null or outcome = 'abandoned');
