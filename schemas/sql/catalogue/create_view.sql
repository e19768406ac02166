-- Show one version under the catalogue's name; what is not known is NULL here.
create or replace view {view} as
select sample, id, ra, dec, healpix,
    nullif({label}, 'NaN') as {label},
    nullif({prediction}, 'NaN') as {prediction},
    nullif({error}, 'NaN') as {error},
    flags, split, {rest}
from {table};
