-- Meaning, unit and UCD of every column of a catalogue of sources, but for the shares of classes.
comment on column {relation}.sample is 'field of the run file (ucd: meta.id.parent)';
comment on column {relation}.id is 'number of the source in its segmentation map (ucd: meta.id;meta.main)';
comment on column {relation}.ra is 'right ascension of the centroid, J2000; without sky coordinates: NULL in the view, NaN in the table [deg] (ucd: pos.eq.ra;meta.main)';
comment on column {relation}.dec is 'declination of the centroid, J2000; without sky coordinates: NULL in the view, NaN in the table [deg] (ucd: pos.eq.dec;meta.main)';
comment on column {relation}.healpix is 'HEALPix pixel, nested, order 29; -1 without a position (ucd: pos.healpix)';
comment on column {relation}.y_pixel is 'row of the centroid of its light, counted from 0 (ucd: pos.cartesian.y)';
comment on column {relation}.x_pixel is 'column of the centroid of its light, counted from 0 (ucd: pos.cartesian.x)';
comment on column {relation}.flux is 'sum over its pixels, in the unit of the mosaic (ucd: phot.flux)';
comment on column {relation}.area_pixels is 'number of its pixels (ucd: phys.angArea)';
comment on column {relation}.radius_arcsec is 'radius of a circle of the same area [arcsec] (ucd: phys.angSize)';
comment on column {relation}.class_number is 'number of the class with the largest share, from 0 in the order of the shares; -1: not known (ucd: meta.code.class)';
comment on column {relation}.class is 'class with the largest share (ucd: src.class)';
comment on column {relation}.confidence is 'largest share less the second (ucd: stat.probability)';
comment on column {relation}.flags is 'bits: 1 at the edge of what is classified, 2 without light above zero (ucd: meta.code.qual)';
comment on column {relation}.provenance is 'digest of what made the row; explained in skymill.catalogue_version (ucd: meta.ref)';
