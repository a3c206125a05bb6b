-- Makes a user a member of a public room. Everything that is in the room already counts as read.
-- Params: room_id bigint, user_id bigint, request_id text (the idempotency key: if an earlier try with it took effect,
-- this one does nothing).
-- Returns: one row: n (1), status, and the columns of an event. status: `new`; `already`: the user is a member, or an
-- earlier try took effect; `not_found`: the user cannot see such a room; `archived`. The event is null unless new.
SELECT id FROM rooms WHERE id = %(room_id)s::bigint FOR NO KEY UPDATE;

WITH room AS (
    SELECT r.id, r.name, r.kind, r.topic, r.archived_at, r.last_seq, r.last_message_no,
        m.user_id IS NOT NULL AS is_member, clock_timestamp() AS at,
        EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.room_id = r.id AND e.user_id = %(user_id)s::bigint AND e.request_id = %(request_id)s::text
        ) AS is_repeat
    FROM rooms AS r
    LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
    WHERE r.id = %(room_id)s::bigint AND (r.kind = 'public' OR m.user_id IS NOT NULL)
), joined AS (
    INSERT INTO members (room_id, user_id, joined_seq, read_message_no)
    SELECT id, %(user_id)s::bigint, last_seq + 1, last_message_no
    FROM room
    WHERE NOT is_member AND NOT is_repeat AND archived_at IS NULL
    RETURNING room_id, user_id, joined_seq
), advanced AS (
    UPDATE rooms SET last_seq = joined.joined_seq FROM joined WHERE rooms.id = joined.room_id
), inserted AS (
    INSERT INTO events (room_id, seq, kind, user_id, data, request_id, created_at)
    SELECT joined.room_id, joined.joined_seq, 5, joined.user_id,
        jsonb_build_object('action', 'joined', 'room',
            jsonb_build_object('id', room.id, 'name', room.name, 'kind', room.kind, 'topic', room.topic)),
        %(request_id)s::text, room.at
    FROM joined, room
    RETURNING room_id, seq, kind, user_id, body, message_no, data, request_id, created_at
)
SELECT 1 AS n,
    CASE
        WHEN e.seq IS NOT NULL THEN 'new'
        WHEN r.id IS NULL THEN 'not_found'
        WHEN r.is_member OR r.is_repeat THEN 'already'
        ELSE 'archived'
    END AS status,
    e.room_id, e.seq, e.kind, e.user_id, u.username, u.email, e.body, e.message_no, e.data, e.request_id, e.created_at
FROM (SELECT 1) AS one_row
LEFT JOIN room AS r ON true
LEFT JOIN inserted AS e ON true
LEFT JOIN users AS u ON u.id = e.user_id;
