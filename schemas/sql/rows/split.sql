-- Parts of the split: within each of `strata` quantiles of the label, rows are ranked by a hash of seed and id,
-- and the first shares of the ranks are train (0), validation (1) and calibration (3), the rest test (2). Repeats of
-- one target go where their first row goes: the picture a model has learnt must not be in the test.
-- Parameters: strata, seed, train share, train + validation share, train + validation + calibration share.
CREATE TEMP TABLE parts AS
WITH labelled AS (
    SELECT id, ntile(CAST($strata AS BIGINT)) OVER (ORDER BY label, id) AS stratum
    FROM ordered
    WHERE label IS NOT NULL AND isfinite(label)
),
ranked AS (
    SELECT
        id,
        row_number() OVER (PARTITION BY stratum ORDER BY md5($seed || ':' || id), id) AS place,
        count(*) OVER (PARTITION BY stratum) AS size
    FROM labelled
),
drawn AS (
    SELECT
        id,
        CASE
            WHEN place <= round($train * size) THEN 0
            WHEN place <= round($known * size) THEN 1
            WHEN place <= round($kept * size) THEN 3
            ELSE 2
        END AS split
    FROM ranked
)
SELECT labelled.id, drawn.split
FROM labelled LEFT JOIN repeats USING (id) JOIN drawn ON drawn.id = coalesce(repeats.first, labelled.id)
