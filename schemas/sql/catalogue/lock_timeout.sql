-- Do not stand in a queue in front of all readers for ever.
select set_config('lock_timeout', '60s', true);
