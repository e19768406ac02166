-- Receipts in force of a stage; the failures of each as a JSON array.
select r.key, r.inputs, r.rows, r.bytes, r.seconds, r.digest, r.products, r.facts, r.worker,
    (
        select json_agg(json_build_array(f.sample, f."row", f.id::text, f.status, f.detail) order by f.sample, f."row")
        from skymill.object_failure f
        where (f.run_id, f.stage, f.key) = (r.run_id, r.stage, r.key)
    )
from skymill.receipt r
where r.run_id = %(run_id)s and r.stage = %(stage)s
order by r.key;
