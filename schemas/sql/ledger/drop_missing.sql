-- Forget units of a stage that the plan no longer has.
delete from skymill.unit
where run_id = %(run_id)s and stage = %(stage)s
    and key not in (select json_array_elements_text(%(keys)s::json));
