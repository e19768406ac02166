-- Show one version under the catalogue's name; what is not known is NULL here.
create or replace view {view} as
select sample, id, ra, dec, healpix,
    nullif(z_spec, 'NaN') as z_spec,
    nullif(z_phot, 'NaN') as z_phot,
    nullif(z_phot_err, 'NaN') as z_phot_err,
    flags, split, {rest}
from {table};
