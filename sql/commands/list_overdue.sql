-- Lists the open commands whose deadline has passed, oldest first.
-- Params: seconds double precision (from the command to its deadline), limit bigint.
-- Returns: id, room_id.
SELECT id, room_id
FROM commands
WHERE outcome IS NULL AND asked_at < clock_timestamp() - make_interval(secs => %(seconds)s::double precision)
ORDER BY asked_at, id
LIMIT %(limit)s::bigint;
