create schema catalogue;
comment on schema catalogue is 'published catalogues: a view names the current version of each';

create type skymill.version_state as enum ('building', 'published', 'retired');

create table skymill.catalogue_version (
    catalogue text not null check (catalogue ~ '^[a-z][a-z0-9_]{0,40}$'),
    version integer not null check (version > 0),
    run text not null,
    digest text not null,
    state skymill.version_state not null default 'building',
    rows bigint check (rows >= 0),
    created timestamptz not null default now(),
    published timestamptz,
    pdf jsonb,
    provenance jsonb not null,
    primary key (catalogue, version),
    check (state = 'building' or (rows is not null and published is not null))
);
create unique index catalogue_version_current on skymill.catalogue_version (catalogue)
    where state = 'published';
create unique index catalogue_version_digest on skymill.catalogue_version (catalogue, digest);
comment on table skymill.catalogue_version is 'one immutable set of rows: the table catalogue.<catalogue>_v<version>';
comment on column skymill.catalogue_version.catalogue is 'name of the catalogue and of its view';
comment on column skymill.catalogue_version.version is 'counts from 1; a number is never used twice';
comment on column skymill.catalogue_version.run is 'run that made it';
comment on column skymill.catalogue_version.digest is 'digest of everything the rows depend on';
comment on column skymill.catalogue_version.state is 'published: the one the view shows';
comment on column skymill.catalogue_version.rows is 'rows, once they were counted';
comment on column skymill.catalogue_version.created is 'when it was begun';
comment on column skymill.catalogue_version.published is 'when it was published first';
comment on column skymill.catalogue_version.pdf is 'dtype, bins and bin edges of the column pdf; null without one';
comment on column skymill.catalogue_version.provenance is 'run file, code, packages, model, seed';

create table skymill.catalogue_counter (
    catalogue text primary key,
    last_version integer not null check (last_version > 0)
);
comment on table skymill.catalogue_counter is 'last version number given out, so that none is used twice';
comment on column skymill.catalogue_counter.catalogue is 'name of the catalogue';
comment on column skymill.catalogue_counter.last_version is 'highest number ever used';

create table skymill.catalogue_part (
    catalogue text not null,
    version integer not null,
    part text not null,
    digest text not null,
    rows bigint not null check (rows >= 0),
    loaded timestamptz not null default now(),
    primary key (catalogue, version, part),
    foreign key (catalogue, version) references skymill.catalogue_version on delete cascade
);
comment on table skymill.catalogue_part is 'prediction parts whose rows are in a version (written in the same transaction)';
comment on column skymill.catalogue_part.catalogue is 'catalogue';
comment on column skymill.catalogue_part.version is 'version';
comment on column skymill.catalogue_part.part is 'key of the part, such as spectro/00012';
comment on column skymill.catalogue_part.digest is 'digest of the part';
comment on column skymill.catalogue_part.rows is 'rows of the part';
comment on column skymill.catalogue_part.loaded is 'when';
