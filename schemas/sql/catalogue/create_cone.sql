-- Cone search on the view; all angles [deg].
-- OFFSET 0 keeps the planner from reading the whole table first: it cannot know how narrow the ranges are.
create or replace function {cone}(ra_deg double precision, dec_deg double precision, radius_deg double precision)
returns setof {view}
language sql stable parallel safe as $$
    select c.*
    from skymill.cone_ranges(ra_deg, dec_deg, radius_deg) r
    cross join lateral (select * from {view} v where v.healpix between r.first and r.last offset 0) c
    where skymill.separation_rad(radians(ra_deg), radians(dec_deg), radians(c.ra), radians(c.dec)) <= radians(radius_deg)
$$;
