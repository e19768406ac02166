-- Number of a run, if there is one of this name.
select run_id from skymill.run where name = %(name)s;
