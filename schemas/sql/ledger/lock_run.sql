-- Take the run for the life of this connection; false when another connection has it.
select pg_try_advisory_lock(7303034, hashtext(%(name)s));
