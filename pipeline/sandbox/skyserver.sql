-- The views and functions of SkyServer that the sandbox offers over its two base tables.
CREATE VIEW SpecObj AS SELECT * FROM SpecObjAll WHERE sciencePrimary = 1;
CREATE VIEW PhotoObj AS SELECT * FROM PhotoObjAll WHERE mode IN (1, 2);
CREATE VIEW PhotoPrimary AS SELECT * FROM PhotoObjAll WHERE mode = 1;
CREATE VIEW Galaxy AS SELECT * FROM PhotoObjAll WHERE mode = 1 AND type = 3;
CREATE VIEW Star AS SELECT * FROM PhotoObjAll WHERE mode = 1 AND type = 6;

CREATE SCHEMA dbo;
CREATE MACRO dbo.fDistanceArcMinEq(ra1, dec1, ra2, dec2) AS
    2 * degrees(asin(sqrt(
        pow(sin(radians(dec2 - dec1) / 2), 2)
        + cos(radians(dec1)) * cos(radians(dec2)) * pow(sin(radians(ra2 - ra1) / 2), 2)))) * 60;
CREATE MACRO dbo.fPhotoType(name) AS
    CASE upper(name) WHEN 'GALAXY' THEN 3 WHEN 'STAR' THEN 6 ELSE 0 END;
CREATE MACRO dbo.fPhotoTypeN(kind) AS
    CASE kind WHEN 3 THEN 'GALAXY' WHEN 6 THEN 'STAR' ELSE 'UNKNOWN' END;
CREATE MACRO dbo.fGetNearbyObjEq(centre_ra, centre_dec, radius_arcmin) AS TABLE
    SELECT objID, run, camcol, field, rerun, type, mode,
           dbo.fDistanceArcMinEq(ra, dec, centre_ra, centre_dec) AS distance
    FROM PhotoObjAll
    WHERE mode = 1
      AND dec BETWEEN centre_dec - radius_arcmin / 60.0 AND centre_dec + radius_arcmin / 60.0
      AND dbo.fDistanceArcMinEq(ra, dec, centre_ra, centre_dec) <= radius_arcmin
    ORDER BY distance;
