-- Settles a command and posts its one visible outcome, a message from the bot user. The reply and the deadline both
-- try; the first one wins.
-- Params: command_id bigint (null: the room's oldest open command), room_id bigint, outcome text (answered, expired),
-- body text.
-- Returns: one row: n (1), status, and the columns of an event. status: `new`: this call settled the command and its
-- message is in the log; `already`: there is no such open command; `locked`: another transaction has kept the room locked.
-- The event is null unless new.
SELECT lock_rooms(ARRAY[
    coalesce((SELECT room_id FROM commands WHERE id = %(command_id)s::bigint), %(room_id)s::bigint)
]);

WITH settled AS (
    UPDATE commands
    SET outcome = %(outcome)s::text
    WHERE rooms_are_locked() AND outcome IS NULL
        AND id = coalesce(%(command_id)s::bigint, (
            SELECT c.id FROM commands AS c
            WHERE c.room_id = %(room_id)s::bigint AND c.outcome IS NULL
            ORDER BY c.asked_at, c.id
            LIMIT 1))
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
