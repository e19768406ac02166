-- One driver at a time migrates; the lock ends with the transaction.
select pg_advisory_xact_lock(7303033, 0), to_regclass('skymill.migration') is not null;
