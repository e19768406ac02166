-- Rows no cutout can be asked for.
SELECT id
FROM ordered
WHERE ra IS NULL OR dec IS NULL OR NOT isfinite(ra) OR NOT isfinite(dec)
   OR ra NOT BETWEEN 0 AND 360 OR dec NOT BETWEEN -90 AND 90
ORDER BY id
