-- Creates a public room with its owner and event 1. The insert waits while another transaction commits a room of the
-- same name; the snapshot of the second statement then sees that one.
-- Params: name text (trimmed), name_key text (what no two names may have in common), topic text, user_id bigint,
-- request_id text (the idempotency key).
-- Returns: one row: n (1), status, and the columns of an event. status: `new`: created, by this try or an earlier one
-- with the same request_id; `taken`: the name belongs to another room, and the event is null. Event 1 has the time of
-- the room, so append_event does not make it.
WITH room AS (
    INSERT INTO rooms (name, name_key, topic, created_by, last_seq, member_count)
    VALUES (%(name)s::text, %(name_key)s::text, %(topic)s::text, %(user_id)s::bigint, 1, 1)
    ON CONFLICT DO NOTHING
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

SELECT 1 AS n, CASE WHEN event.seq IS NULL THEN 'taken' ELSE 'new' END AS status, event.*
FROM (SELECT 1) AS one_row
LEFT JOIN rooms AS r ON r.kind = 'public' AND r.name_key = %(name_key)s::text
LEFT JOIN event_rows AS event ON event.room_id = r.id AND event.seq = 1
    AND event.user_id = %(user_id)s::bigint AND event.request_id = %(request_id)s::text;
