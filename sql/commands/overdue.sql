-- Finds the open commands whose deadline has passed, oldest first.
-- Params: seconds double precision, most bigint.
-- Returns: id, room_id, line.
SELECT id, room_id, line
FROM commands
WHERE outcome IS NULL AND asked_at < clock_timestamp() - make_interval(secs => %(seconds)s::double precision)
ORDER BY asked_at, id
LIMIT %(most)s::bigint;
