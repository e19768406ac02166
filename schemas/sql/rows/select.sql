-- The ordered rows as they are stored.
SELECT
    ordered.row,
    ordered.id,
    coalesce(ordered.ra, 'nan'::DOUBLE) AS ra,
    coalesce(ordered.dec, 'nan'::DOUBLE) AS dec,
    CAST(coalesce(ordered.label, 'nan'::DOUBLE) AS FLOAT) AS label,
    CAST(coalesce(parts.split, 255) AS UTINYINT) AS split,
    ordered.* EXCLUDE (row, id, ra, dec, label)
FROM ordered LEFT JOIN parts USING (id)
ORDER BY ordered.row
