-- All parts of a sample as one table, duplicates marked: `copy` 1 is kept, whichever part came first.
-- Placeholders: {key}, {ra}, {dec}, {label} are expressions, {features} and {all} are lists of columns.
CREATE TEMP TABLE pulled AS
SELECT
    CAST({key} AS UBIGINT) AS id,
    CAST({ra} AS DOUBLE) AS ra,
    CAST({dec} AS DOUBLE) AS dec,
    CAST({label} AS DOUBLE) AS label
    {features},
    row_number() OVER (PARTITION BY {key} ORDER BY {all}) AS copy
FROM read_parquet(?, union_by_name = true)
