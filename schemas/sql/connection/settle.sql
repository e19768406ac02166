-- Times in UTC; and a server that loses its client (dead host, cut link) lets go of its locks in seconds.
select set_config('timezone', 'UTC', false),
    set_config('tcp_keepalives_idle', '5', false),
    set_config('tcp_keepalives_interval', '2', false),
    set_config('tcp_keepalives_count', '3', false),
    set_config('client_min_messages', 'warning', false);
