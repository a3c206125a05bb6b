-- Gives a command its one visible outcome: a message of the robot's. Reply and deadline both try; the first wins.
-- Params: command_id bigint (null: the room's oldest open command), room_id bigint, outcome text (answered, expired),
-- body text.
-- Returns: one row: n (1), verdict, and the columns of an event. verdict: `new`: this call's answer stands in the log;
-- `already`: there is no such open command, and the event is null.
SELECT id
FROM rooms
WHERE id = coalesce((SELECT room_id FROM commands WHERE id = %(command_id)s::bigint), %(room_id)s::bigint)
FOR NO KEY UPDATE;

WITH won AS (
    UPDATE commands
    SET outcome = %(outcome)s::text
    WHERE outcome IS NULL
        AND id = coalesce(%(command_id)s::bigint, (
            SELECT c.id FROM commands AS c
            WHERE c.room_id = %(room_id)s::bigint AND c.outcome IS NULL
            ORDER BY c.asked_at, c.id
            LIMIT 1))
    RETURNING id, room_id
), raised AS (
    UPDATE rooms
    SET last_seq = last_seq + 1, last_message_no = last_message_no + 1
    FROM won
    WHERE rooms.id = won.room_id
    RETURNING rooms.id, rooms.last_seq, rooms.last_message_no
), written AS (
    INSERT INTO events (room_id, seq, kind, user_id, body, message_no, client_id, created_at)
    SELECT raised.id, raised.last_seq, 1, robot.id, %(body)s::text, raised.last_message_no,
        'command-' || won.id, clock_timestamp()
    FROM won, raised, users AS robot
    WHERE robot.is_bot AND lower(robot.username) = 'robot'
    RETURNING room_id, seq, kind, user_id, body, message_no, data, client_id, created_at
)
SELECT 1 AS n, CASE WHEN w.seq IS NULL THEN 'already' ELSE 'new' END AS verdict,
    w.room_id, w.seq, w.kind, w.user_id, u.username, u.email, w.body, w.message_no, w.data, w.client_id, w.created_at
FROM (SELECT 1) AS always
LEFT JOIN written AS w ON true
LEFT JOIN users AS u ON u.id = w.user_id;
