-- Attempts, counted by how they ended; null: still out.
select stage, outcome, count(*)
from skymill.attempt
where run_id = %(run_id)s
group by stage, outcome
order by stage, outcome;
