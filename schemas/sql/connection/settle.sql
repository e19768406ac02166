-- Times in UTC; and a server that loses its client (dead host, cut link) lets go of its locks in seconds.
select set_config('timezone', 'UTC', false),
    set_config('tcp_keepalives_idle', '5', false),
    set_config('tcp_keepalives_interval', '2', false),
    set_config('tcp_keepalives_count', '3', false),
    set_config('client_min_messages', 'warning', false);
-- In the midst of a long statement it looks for its client too, where it can (from version 14, not on Windows).
select set_config(name, '5s', false)
from pg_settings
where name = 'client_connection_check_interval' and version() !~* 'visual c|mingw|windows';
