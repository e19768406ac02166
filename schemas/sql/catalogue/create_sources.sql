-- The rows of one version of a catalogue of sources in fields.
create table {table} (
    sample text not null,
    id numeric(20) not null,
    ra double precision not null,
    dec double precision not null,
    healpix bigint not null,
    y_pixel double precision not null,
    x_pixel double precision not null,
    flux double precision not null,
    area_pixels integer not null,
    radius_arcsec real not null,
    {shares},
    class_number smallint not null,
    class text generated always as (({names}::text[])[class_number + 1]) stored,
    confidence real not null,
    flags integer not null,
    provenance text not null
);
