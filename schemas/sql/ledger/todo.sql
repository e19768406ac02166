-- Plan units: new ones are added, those with other inputs lose their receipt.
-- Returns the positions of the units that have to be done.
with planned as materialized (
    select * from json_to_recordset(%(units)s::json) as u (position integer, stage text, key text, inputs text)
), stale as (
    delete from skymill.receipt r using planned p
    where r.run_id = %(run_id)s and (r.stage, r.key) = (p.stage, p.key) and r.inputs <> p.inputs
), noted as (
    insert into skymill.unit (run_id, stage, key, inputs)
    select %(run_id)s, stage, key, inputs from planned
    on conflict (run_id, stage, key) do update
        set inputs = excluded.inputs, state = 'pending', receipt_attempt = null, error = null
        where unit.inputs <> excluded.inputs
)
select p.position
from planned p left join skymill.receipt r
    on r.run_id = %(run_id)s and (r.stage, r.key, r.inputs) = (p.stage, p.key, p.inputs)
where r.key is null
order by p.position;
