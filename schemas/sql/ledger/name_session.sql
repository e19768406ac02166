-- Say in pg_stat_activity which driver this is.
select set_config('application_name', %(name)s, false);
