-- Finds an open command whose deadline has passed.
-- Params: seconds double precision (from the command to its deadline).
-- Returns: id; no row: there is none.
SELECT id
FROM commands
WHERE outcome IS NULL AND asked_at < now() - make_interval(secs => %(seconds)s::double precision)
ORDER BY asked_at, id
LIMIT 1;
