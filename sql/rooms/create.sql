-- Creates a public room with its owner and event 1. The insert waits while another transaction commits a room of the
-- same name; the snapshot of the second statement then sees that one.
-- Params: name text (trimmed), topic text, user_id bigint, request_id text (the idempotency key).
-- Returns: one row: n (1), status, and the columns of an event. status: `new`: created, by this try or an earlier one
-- with the same request_id; `taken`: the name belongs to another room, and the event is null.
WITH room AS (
    INSERT INTO rooms (name, topic, created_by, last_seq)
    VALUES (%(name)s::text, %(topic)s::text, %(user_id)s::bigint, 1)
    ON CONFLICT (lower(upper(name))) WHERE kind = 'public' DO NOTHING
    RETURNING id, name, topic, created_at
), owner AS (
    INSERT INTO members (room_id, user_id, role, joined_seq)
    SELECT room.id, %(user_id)s::bigint, 'owner', 1
    FROM room
)
INSERT INTO events (room_id, seq, kind, user_id, data, request_id, created_at)
SELECT room.id, 1, 6, %(user_id)s::bigint,
    jsonb_build_object('action', 'created', 'name', room.name, 'topic', room.topic),
    %(request_id)s::text, room.created_at
FROM room;

SELECT 1 AS n, CASE WHEN e.seq IS NULL THEN 'taken' ELSE 'new' END AS status,
    e.room_id, e.seq, e.kind, e.user_id, u.username, u.email, e.body, e.message_no, e.data, e.request_id, e.created_at
FROM rooms AS r
LEFT JOIN events AS e ON e.room_id = r.id AND e.seq = 1
    AND e.user_id = %(user_id)s::bigint AND e.request_id = %(request_id)s::text
LEFT JOIN users AS u ON u.id = e.user_id
WHERE r.kind = 'public' AND lower(upper(r.name)) = lower(upper(%(name)s::text));
