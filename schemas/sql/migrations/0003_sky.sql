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
