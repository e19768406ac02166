-- Keys that came more than once, and how often.
SELECT id, max(copy) AS copies FROM pulled GROUP BY id HAVING max(copy) > 1 ORDER BY id
