-- Rows, and those with a label.
SELECT count(*), count(*) FILTER (WHERE label IS NOT NULL AND isfinite(label)) FROM ordered
