-- One row a key, numbered in the order of the key; the sample's limit cuts here.
CREATE TEMP TABLE ordered AS
SELECT row_number() OVER (ORDER BY id) - 1 AS row, * EXCLUDE (copy)
FROM pulled
WHERE copy = 1
ORDER BY id
LIMIT ?
