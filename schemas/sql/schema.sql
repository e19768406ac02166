create schema skymill;
comment on schema skymill is 'the ledger of skymill: which unit of which stage of which run is done, and with what receipt';

create table skymill.migration (
    version integer primary key,
    name text not null,
    applied timestamptz not null default now()
);
comment on table skymill.migration is 'schema versions that were applied to this database';
comment on column skymill.migration.version is 'number of the migration';
comment on column skymill.migration.name is 'its file, without .sql';
comment on column skymill.migration.applied is 'when';

create type skymill.unit_state as enum ('pending', 'running', 'done', 'failed');
create type skymill.attempt_outcome as enum ('accepted', 'superseded', 'failed', 'abandoned');

create table skymill.run (
    run_id integer generated always as identity primary key,
    name text not null unique,
    digest text not null,
    run_file jsonb not null,
    code_version text not null,
    packages jsonb not null,
    provenance jsonb not null,
    seed bigint not null,
    created timestamptz not null default now(),
    opened timestamptz not null default now()
);
comment on table skymill.run is 'one named run; a later run file of the same name takes the place of the earlier';
comment on column skymill.run.run_id is 'surrogate key';
comment on column skymill.run.name is 'name in the run file';
comment on column skymill.run.digest is 'SHA-256 of the resolved run file (canonical JSON)';
comment on column skymill.run.run_file is 'resolved run file; it never holds a password';
comment on column skymill.run.code_version is 'version of skymill';
comment on column skymill.run.packages is 'versions of the packages that shape a result';
comment on column skymill.run.provenance is 'everything the driver said of itself';
comment on column skymill.run.seed is 'seed of every random choice';
comment on column skymill.run.created is 'when the run was opened first';
comment on column skymill.run.opened is 'when the run was opened last';

create table skymill.unit (
    run_id integer not null references skymill.run on delete cascade,
    stage text not null,
    key text not null,
    inputs text not null,
    state skymill.unit_state not null default 'pending',
    attempt integer not null default 0 check (attempt >= 0),
    receipt_attempt integer,
    error text,
    primary key (run_id, stage, key),
    unique (run_id, stage, key, state),
    check ((state = 'done') = (receipt_attempt is not null)),
    check (state <> 'running' or attempt > 0)
);
comment on table skymill.unit is 'one piece of the work of a stage';
comment on column skymill.unit.run_id is 'run';
comment on column skymill.unit.stage is 'pull, fetch, train, infer, publish ...';
comment on column skymill.unit.key is 'name within the stage, such as spectro/00012';
comment on column skymill.unit.inputs is 'digest of everything the result depends on, as last planned';
comment on column skymill.unit.state is 'done if and only if there is a receipt (both directions are foreign keys)';
comment on column skymill.unit.attempt is 'number of the newest attempt: the fencing token';
comment on column skymill.unit.receipt_attempt is 'attempt whose receipt was accepted';
comment on column skymill.unit.error is 'message of the newest failure';

create table skymill.attempt (
    run_id integer not null,
    stage text not null,
    key text not null,
    attempt integer not null check (attempt > 0),
    inputs text not null,
    worker text,
    started timestamptz not null default clock_timestamp(),
    ended timestamptz,
    outcome skymill.attempt_outcome,
    error text,
    primary key (run_id, stage, key, attempt),
    foreign key (run_id, stage, key) references skymill.unit on delete cascade,
    check ((ended is null) = (outcome is null))
);
create index attempt_open on skymill.attempt (run_id) where outcome is null;
comment on table skymill.attempt is 'every time a unit was handed out';
comment on column skymill.attempt.run_id is 'run';
comment on column skymill.attempt.stage is 'stage';
comment on column skymill.attempt.key is 'unit';
comment on column skymill.attempt.attempt is 'counts from 1';
comment on column skymill.attempt.inputs is 'digest of the inputs it was handed out with';
comment on column skymill.attempt.worker is 'who did it, as the receipt says';
comment on column skymill.attempt.started is 'when it was handed out';
comment on column skymill.attempt.ended is 'when the driver learned how it ended; null while it runs';
comment on column skymill.attempt.outcome is
    'accepted; superseded: a newer attempt had the right to the result; failed; abandoned: its driver died';
comment on column skymill.attempt.error is 'message, if it failed';

create table skymill.receipt (
    run_id integer not null,
    stage text not null,
    key text not null,
    attempt integer not null,
    inputs text not null,
    rows bigint not null check (rows >= 0),
    bytes bigint not null check (bytes >= 0),
    seconds double precision not null,
    digest text not null,
    products jsonb not null,
    facts jsonb not null,
    worker text not null,
    ended timestamptz not null default clock_timestamp(),
    unit_state skymill.unit_state not null default 'done' check (unit_state = 'done'),
    primary key (run_id, stage, key),
    unique (run_id, stage, key, attempt),
    foreign key (run_id, stage, key, attempt) references skymill.attempt on delete cascade,
    foreign key (run_id, stage, key, unit_state) references skymill.unit (run_id, stage, key, state)
        on delete cascade deferrable initially deferred
);
alter table skymill.unit add foreign key (run_id, stage, key, receipt_attempt)
    references skymill.receipt (run_id, stage, key, attempt) deferrable initially deferred;
comment on table skymill.receipt is 'what a done unit left behind';
comment on column skymill.receipt.run_id is 'run';
comment on column skymill.receipt.stage is 'stage';
comment on column skymill.receipt.key is 'unit';
comment on column skymill.receipt.attempt is 'attempt that made it';
comment on column skymill.receipt.inputs is 'digest of the inputs it was made from';
comment on column skymill.receipt.rows is 'rows';
comment on column skymill.receipt.bytes is 'bytes of its products';
comment on column skymill.receipt.seconds is 'time the worker took [s]';
comment on column skymill.receipt.digest is 'names the content: the same content has the same digest';
comment on column skymill.receipt.products is 'files: staged, final, bytes, sha256';
comment on column skymill.receipt.facts is 'small numbers of the stage';
comment on column skymill.receipt.worker is 'who did it';
comment on column skymill.receipt.ended is 'when it was accepted';
comment on column skymill.receipt.unit_state is 'always done: ties the receipt to the state of its unit';

create table skymill.object_failure (
    run_id integer not null,
    stage text not null,
    key text not null,
    attempt integer not null,
    sample text not null,
    "row" bigint not null check ("row" >= 0),
    id numeric(20) not null,
    status smallint not null,
    reason text not null,
    permanent boolean not null,
    detail text not null,
    primary key (run_id, stage, key, sample, "row"),
    foreign key (run_id, stage, key, attempt) references skymill.receipt (run_id, stage, key, attempt)
        on delete cascade
);
comment on table skymill.object_failure is 'objects that could not be had, as the receipts in force name them';
comment on column skymill.object_failure.run_id is 'run';
comment on column skymill.object_failure.stage is 'stage';
comment on column skymill.object_failure.key is 'unit';
comment on column skymill.object_failure.attempt is 'attempt that met it';
comment on column skymill.object_failure.sample is 'sample';
comment on column skymill.object_failure."row" is 'row of the cube';
comment on column skymill.object_failure.id is 'key of the object (specobjid passes 2**63)';
comment on column skymill.object_failure.status is 'code, as in the status array of the cube';
comment on column skymill.object_failure.reason is 'the code in words';
comment on column skymill.object_failure.permanent is 'asking again would be in vain';
comment on column skymill.object_failure.detail is 'what was seen';
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
create function skymill.healpix_centre(face integer, x bigint, y bigint, level integer,
    out ra_rad double precision, out dec_rad double precision)
language plpgsql immutable strict parallel safe as $$
declare
    side constant double precision := 2.0 ^ level;
    u constant double precision := (x + 0.5) / side;
    v constant double precision := (y + 0.5) / side;
    ring constant double precision := 2 + face / 4 - u - v;
    near double precision := 1;
    turn double precision;
begin
    if ring between 1 and 3 then
        dec_rad := asin((2 - ring) * 2 / 3);
    else
        -- asin would lose half of the digits at the pole
        near := least(ring, 4 - ring);
        dec_rad := sign(2 - ring) * atan2(1 - near * near / 3, near * sqrt((2 - near * near / 3) / 3));
    end if;
    turn := (case when face between 4 and 7 then 2 * (face - 4) else 2 * (face % 4) + 1 end) * near + u - v;
    turn := case when turn < 0 then turn + 8 when turn >= 8 then turn - 8 else turn end;
    ra_rad := case when near < 1e-15 then 0 else pi() / 4 * turn / near end;
end $$;
comment on function skymill.healpix_centre is
    'centre [rad] of a HEALPix pixel, given as base pixel, x, y and level (Gorski et al. 2005, ApJ 622, 759)';

create function skymill.separation_rad(ra1 double precision, dec1 double precision,
    ra2 double precision, dec2 double precision)
returns double precision
language sql immutable strict parallel safe as $$
    select 2 * asin(least(1, sqrt(sin((dec2 - dec1) / 2) ^ 2 + cos(dec1) * cos(dec2) * sin((ra2 - ra1) / 2) ^ 2)))
$$;
comment on function skymill.separation_rad is 'angle between two positions [rad], by the haversine formula';

create function skymill.pixel_in_cone(face integer, x bigint, y bigint, level integer, ra0 double precision,
    dec0 double precision, radius double precision, out inside boolean, out outside boolean)
language plpgsql immutable strict parallel safe as $$
declare
    -- no corner is further from its centre: 1.06897 / side is the limit for large sides (max_pixrad of healpy)
    reach constant double precision := 1.0691 / 2.0 ^ level;
    apart double precision;
begin
    select skymill.separation_rad(ra0, dec0, c.ra_rad, c.dec_rad) into apart
    from skymill.healpix_centre(face, x, y, level) c;
    inside := apart + reach <= radius;
    outside := apart - reach > radius;
end $$;
comment on function skymill.pixel_in_cone is
    'whether a HEALPix pixel lies wholly inside or wholly outside of a cone; all angles [rad]';

create function skymill.cone_ranges(ra_deg double precision, dec_deg double precision, radius_deg double precision)
returns table (first bigint, last bigint)
language plpgsql immutable strict parallel safe rows 60 as $$
declare
    ra0 constant double precision := radians(ra_deg);
    dec0 constant double precision := radians(dec_deg);
    radius constant double precision := radians(radius_deg);
    deepest integer;
begin
    if not (dec_deg between -90 and 90 and radius_deg between 0 and 180
            and ra_deg > '-infinity' and ra_deg < 'infinity') then
        raise exception 'expected dec -90 to 90, radius 0 to 180 [deg] and a finite ra, found % % %', dec_deg, radius_deg, ra_deg
            using errcode = 'numeric_value_out_of_range';
    end if;
    deepest := least(29, greatest(0, 1 - floor(log(2.0, greatest(radius, 1e-12)::numeric))::integer));
    return query
    with recursive seen as (
        select 0 as level, f.face, 0::bigint as x, 0::bigint as y, f.face::bigint as pixel, d.inside, d.outside
        from generate_series(0, 11) as f (face)
        cross join lateral skymill.pixel_in_cone(f.face, 0, 0, 0, ra0, dec0, radius) as d
        where not d.outside
        union all
        select s.level + 1, s.face, c.x, c.y, s.pixel * 4 + q.child, d.inside, d.outside
        from seen s
        cross join generate_series(0, 3) as q (child)
        cross join lateral (select 2 * s.x + (q.child & 1) as x, 2 * s.y + (q.child >> 1) as y) as c
        cross join lateral skymill.pixel_in_cone(s.face, c.x, c.y, s.level + 1, ra0, dec0, radius) as d
        where not s.inside and s.level < deepest and not d.outside
    ), leaf as (
        select s.pixel << (2 * (29 - s.level)) as a, (s.pixel + 1) << (2 * (29 - s.level)) as b
        from seen s
        where s.inside or s.level = deepest
    ), edged as (
        select l.a, l.b, (l.a is distinct from lag(l.b) over (order by l.a))::integer as gap from leaf l
    ), grouped as (
        select e.a, e.b, sum(e.gap) over (order by e.a) as island from edged e
    )
    select min(g.a), max(g.b) - 1 from grouped g group by g.island;
end $$;
comment on function skymill.cone_ranges is
    'ranges of nested HEALPix pixels of level 29, both ends included, that cover a cone; all angles [deg]';

create function skymill.pdf_bins(pdf bytea, bins integer)
returns real[]
language sql immutable strict parallel safe as $$
    with shape as (
        select length(pdf) / bins as width,
            case length(pdf) / bins when 2 then 10 else 23 end as fraction_bits,
            case length(pdf) / bins when 2 then 15 else 127 end as bias
    ), raw as (
        select i, s.fraction_bits, s.bias,
            (
                select sum(get_byte(pdf, i * s.width + b)::bigint << (8 * b))::bigint
                from generate_series(0, s.width - 1) as b
            ) as word,
            s.width
        from shape s, generate_series(0, bins - 1) as i
    ), split as (
        select i, fraction_bits, bias, word >> (8 * width - 1) as negative,
            (word >> fraction_bits) & (2 * bias + 1) as exponent,
            word & ((1::bigint << fraction_bits) - 1) as fraction
        from raw
    )
    select array_agg(
        (case
            when exponent = 2 * bias + 1 and fraction > 0 then 'NaN'::float8
            when exponent = 2 * bias + 1 then 'Infinity'::float8
            when exponent = 0 then fraction * 2.0::float8 ^ (1 - bias - fraction_bits)
            else (1 + fraction / 2.0::float8 ^ fraction_bits) * 2.0::float8 ^ (exponent - bias)
        end * case negative when 1 then -1 else 1 end)::real
        order by i
    )
    from split
$$;
comment on function skymill.pdf_bins is
    'bins of a PDF column as an array: bytea of little-endian float32 or float16 (IEEE 754), and their number';

grant usage on schema skymill, catalogue to public;
