-- Rows, those with a label, and those no cutout can be asked for.
SELECT
    count(*),
    count(*) FILTER (WHERE label IS NOT NULL AND isfinite(label)),
    count(*) FILTER (
        WHERE ra IS NULL OR dec IS NULL OR NOT isfinite(ra) OR NOT isfinite(dec)
           OR ra NOT BETWEEN 0 AND 360 OR dec NOT BETWEEN -90 AND 90
    )
FROM ordered
