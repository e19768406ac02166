-- Objects of an accepted unit that could not be had.
insert into skymill.object_failure
    (run_id, stage, key, attempt, sample, "row", id, status, reason, permanent, detail)
select %(run_id)s, %(stage)s, %(key)s, %(attempt)s, f.sample, f."row", f.id, f.status, f.reason, f.permanent, f.detail
from json_to_recordset(%(failures)s::json)
    as f (sample text, "row" bigint, id numeric(20), status smallint, reason text, permanent boolean, detail text);
