-- The rows of one version.
create table {table} (
    sample text not null,
    id numeric(20) not null,
    ra double precision not null,
    dec double precision not null,
    healpix bigint not null,
    {label} real not null,
    {prediction} real not null,
    {error} real not null,
    flags integer not null,
    split smallint not null,
    provenance text not null
);
