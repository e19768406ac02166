-- The rows of one version.
create table {table} (
    sample text not null,
    id numeric(20) not null,
    ra double precision not null,
    dec double precision not null,
    healpix bigint not null,
    z_spec real not null,
    z_phot real not null,
    z_phot_err real not null,
    flags integer not null,
    split smallint not null,
    provenance text not null
);
