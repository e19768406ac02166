-- Blocks that were given up since their workers died, and why.
select stage, key, facts ->> 'lost'
from skymill.receipt
where run_id = %(run_id)s and stage in ('fetch', 'infer') and facts ? 'lost'
order by stage, key;
