-- Forget the units of samples that the run file no longer has; such a unit is named by its sample, or sample/part.
delete from skymill.unit
where run_id = %(run_id)s and stage = any(%(stages)s::text[])
    and split_part(key, '/', 1) <> all(%(samples)s::text[]);
