-- Meaning, unit and UCD of every column.
comment on column {relation}.sample is 'sample of the run file (ucd: meta.id.parent)';
comment on column {relation}.id is 'key of the object in its sample, such as specobjid (ucd: meta.id;meta.main)';
comment on column {relation}.ra is 'right ascension, J2000 [deg] (ucd: pos.eq.ra;meta.main)';
comment on column {relation}.dec is 'declination, J2000 [deg] (ucd: pos.eq.dec;meta.main)';
comment on column {relation}.healpix is 'HEALPix pixel, nested, order 29; -1 without a position (ucd: pos.healpix)';
comment on column {relation}.{label} is {label_meaning};
comment on column {relation}.{prediction} is {prediction_meaning};
comment on column {relation}.{error} is {error_meaning};
comment on column {relation}.flags is 'bits: 1 edge of the range, 2 multimodal, 4 wide, 8 not finite (ucd: meta.code.qual)';
comment on column {relation}.split is 'part of the split: 0 train, 1 validation, 2 test, 3 calibration, 255 unlabelled (ucd: meta.code)';
comment on column {relation}.provenance is 'digest of what made the row; explained in skymill.catalogue_version (ucd: meta.ref)';
