-- Settles overdue commands, oldest first, and posts their visible outcome, a message from the bot user. A room that
-- another transaction keeps locked is left for the next call, so this waits for nobody.
-- Params: seconds double precision (from the command to its deadline), limit bigint, body text.
-- Returns: n (1), status, and the columns of an event, by room and seq. status: `new`: a command was settled and its
-- message is in the log; `already`, in a single row: there was none, and the event is null.
WITH overdue AS MATERIALIZED (
    SELECT c.id
    FROM commands AS c
    JOIN rooms AS r ON r.id = c.room_id
    WHERE c.outcome IS NULL AND c.asked_at < now() - make_interval(secs => %(seconds)s::double precision)
    ORDER BY c.asked_at, c.id
    LIMIT %(limit)s::bigint
    FOR NO KEY UPDATE OF r SKIP LOCKED
), settled AS (
    UPDATE commands AS c
    SET outcome = 'expired', settled_at = clock_timestamp()
    FROM overdue
    WHERE c.id = overdue.id AND c.outcome IS NULL
    RETURNING c.id, c.room_id
), event AS (
    SELECT event.*
    FROM (SELECT id, room_id FROM settled ORDER BY id) AS settled
    JOIN users AS bot ON bot.is_bot AND lower(bot.username) = 'robot'
    CROSS JOIN LATERAL append_event(
        settled.room_id, bot.id, 1::smallint, NULL, %(body)s::text, NULL, 'command-' || settled.id) AS event
)
SELECT 1 AS n, CASE WHEN event.seq IS NULL THEN 'already' ELSE 'new' END AS status, event.*
FROM (SELECT 1) AS one_row
LEFT JOIN event ON true
ORDER BY event.room_id, event.seq;
