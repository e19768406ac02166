-- Show one version of a catalogue of sources under its name; what is not known is NULL here.
create or replace view {view} as
select sample, id,
    nullif(ra, 'NaN') as ra,
    nullif(dec, 'NaN') as dec,
    healpix,
    nullif(y_pixel, 'NaN') as y_pixel,
    nullif(x_pixel, 'NaN') as x_pixel,
    flux, area_pixels, radius_arcsec,
    {shares},
    class_number, class,
    nullif(confidence, 'NaN') as confidence,
    flags, provenance
from {table};
