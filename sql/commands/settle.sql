-- Settles a command and posts its one visible outcome, a message from the bot user. The reply and the deadline both
-- try; the first one wins.
-- Params: command_id bigint (null: the room's oldest open command), room_id bigint, outcome text (answered, expired),
-- body text.
-- Returns: one row: n (1), status, and the columns of an event. status: `new`: this call settled the command and its
-- message is in the log; `already`: there is no such open command, and the event is null.
SELECT id
FROM rooms
WHERE id = coalesce((SELECT room_id FROM commands WHERE id = %(command_id)s::bigint), %(room_id)s::bigint)
FOR NO KEY UPDATE;

WITH settled AS (
    UPDATE commands
    SET outcome = %(outcome)s::text
    WHERE outcome IS NULL
        AND id = coalesce(%(command_id)s::bigint, (
            SELECT c.id FROM commands AS c
            WHERE c.room_id = %(room_id)s::bigint AND c.outcome IS NULL
            ORDER BY c.asked_at, c.id
            LIMIT 1))
    RETURNING id, room_id
), advanced AS (
    UPDATE rooms
    SET last_seq = last_seq + 1, last_message_no = last_message_no + 1
    FROM settled
    WHERE rooms.id = settled.room_id
    RETURNING rooms.id, rooms.last_seq, rooms.last_message_no
), inserted AS (
    INSERT INTO events (room_id, seq, kind, user_id, body, message_no, request_id, created_at)
    SELECT advanced.id, advanced.last_seq, 1, bot.id, %(body)s::text, advanced.last_message_no,
        'command-' || settled.id, clock_timestamp()
    FROM settled, advanced, users AS bot
    WHERE bot.is_bot AND lower(bot.username) = 'robot'
    RETURNING room_id, seq, kind, user_id, body, message_no, data, request_id, created_at
)
SELECT 1 AS n, CASE WHEN e.seq IS NULL THEN 'already' ELSE 'new' END AS status,
    e.room_id, e.seq, e.kind, e.user_id, u.username, u.email, e.body, e.message_no, e.data, e.request_id, e.created_at
FROM (SELECT 1) AS one_row
LEFT JOIN inserted AS e ON true
LEFT JOIN users AS u ON u.id = e.user_id;
