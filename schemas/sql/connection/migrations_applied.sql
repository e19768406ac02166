-- Newest schema version of this database.
select coalesce(max(version), 0) from skymill.migration;
