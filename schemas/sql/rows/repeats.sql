-- Labelled rows of one target: `first` is the smallest id within reach of `id`, for rows that are not alone.
-- A row's position is a unit vector; it is put into all the cells that its neighbourhood touches, so two rows of
-- one target always share a cell, and there are no edges. Rows of one target may form a chain.
-- Parameters: reach and cell (chords of the unit sphere; a cell is much the larger).
CREATE TEMP TABLE repeats AS
WITH RECURSIVE places AS (
    SELECT
        min(id) AS id,
        list(id) AS ids,
        cos(radians(dec)) * cos(radians(ra)) AS x,
        cos(radians(dec)) * sin(radians(ra)) AS y,
        sin(radians(dec)) AS z
    FROM ordered
    WHERE label IS NOT NULL AND isfinite(label) AND isfinite(ra) AND isfinite(dec)
    GROUP BY ra, dec
),
by_x AS (
    SELECT *, unnest(list_distinct([floor((x - $reach) / $cell), floor((x + $reach) / $cell)])) AS i FROM places
),
by_y AS (
    SELECT *, unnest(list_distinct([floor((y - $reach) / $cell), floor((y + $reach) / $cell)])) AS j FROM by_x
),
cells AS (
    SELECT *, unnest(list_distinct([floor((z - $reach) / $cell), floor((z + $reach) / $cell)])) AS k FROM by_y
),
pairs AS (
    SELECT DISTINCT a.id, b.id AS other
    FROM cells AS a JOIN cells AS b USING (i, j, k)
    WHERE a.id <> b.id AND (a.x - b.x) ** 2 + (a.y - b.y) ** 2 + (a.z - b.z) ** 2 <= $reach ** 2
),
reached AS (
    SELECT id, other FROM pairs
    UNION
    SELECT reached.id, pairs.other FROM reached JOIN pairs ON reached.other = pairs.id
),
firsts AS (
    SELECT id, least(id, min(other)) AS first FROM reached GROUP BY id
)
SELECT unnest(places.ids) AS id, coalesce(firsts.first, places.id) AS first
FROM places LEFT JOIN firsts USING (id)
WHERE firsts.first IS NOT NULL OR len(places.ids) > 1
