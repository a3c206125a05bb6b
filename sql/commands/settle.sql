-- Answers a command: settles it and posts its one visible outcome, a message from the bot user. The reply and the
-- deadline both try; the first one wins.
-- A reply may not say which command it answers. It then answers the room's oldest open one. But if a command of the room
-- has expired a short time ago, the reply may be the late answer to that one: it then answers the oldest open command
-- whose argument it begins with, as a whole word and whatever the case ("AAPL.US quote is …" is not for /stock=AAPL).
-- Params: command_id bigint (null: the reply does not say), room_id bigint, request_id text (of this write: its repeat
-- answers no second command), late_s double precision (for how long an answer to an expired command is waited for),
-- body text.
-- Returns: one row: n (1), status, and the columns of an event. status: `new`: this call settled the command and its
-- message is in the log; `already`: there is no such open command; `locked`: another transaction has kept the room locked.
-- The event is null unless new.
SELECT lock_rooms(ARRAY[
    coalesce((SELECT room_id FROM commands WHERE id = %(command_id)s::bigint), %(room_id)s::bigint)
]);

WITH open_commands AS (
    SELECT c.id, c.asked_at, btrim(lower(substr(c.line, strpos(c.line, '=') + 1))) AS argument
    FROM commands AS c
    WHERE c.room_id = %(room_id)s::bigint AND c.outcome IS NULL
), oldest AS (
    SELECT o.id
    FROM open_commands AS o
    WHERE NOT EXISTS (SELECT 1 FROM commands AS s WHERE s.settled_by = %(request_id)s::text)
        AND (NOT EXISTS (SELECT 1 FROM commands AS e
                WHERE e.room_id = %(room_id)s::bigint AND e.outcome = 'expired'
                    AND e.settled_at > now() - make_interval(secs => %(late_s)s::double precision))
            OR o.argument <> '' AND starts_with(lower(%(body)s::text), o.argument)
                AND substr(lower(%(body)s::text), length(o.argument) + 1) !~ '^[.^-]*\w')
    ORDER BY o.asked_at, o.id
    LIMIT 1
), settled AS (
    UPDATE commands
    SET outcome = 'answered', settled_at = clock_timestamp(), settled_by = %(request_id)s::text
    WHERE rooms_are_locked() AND outcome IS NULL AND id = coalesce(%(command_id)s::bigint, (SELECT id FROM oldest))
    RETURNING id, room_id
), event AS (
    SELECT event.*
    FROM settled
    JOIN users AS bot ON bot.is_bot AND lower(bot.username) = 'robot'
    CROSS JOIN LATERAL append_event(
        settled.room_id, bot.id, 1::smallint, NULL, %(body)s::text, NULL, 'command-' || settled.id) AS event
)
SELECT 1 AS n,
    CASE WHEN NOT rooms_are_locked() THEN 'locked' WHEN event.seq IS NULL THEN 'already' ELSE 'new' END AS status,
    event.*
FROM (SELECT 1) AS one_row
LEFT JOIN event ON true;
