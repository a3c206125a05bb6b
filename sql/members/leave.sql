-- Ends a user's membership of a room.
-- Params: room_id bigint, user_id bigint, request_id text (the idempotency key: if an earlier try with it took effect,
-- this one does nothing).
-- Returns: one row: n (1), status, and the columns of an event. status: `new`; `already`: the user is not a member, or
-- an earlier try took effect; `not_found`: the user cannot see such a room, or no longer since an earlier try. The
-- event is null unless new.
SELECT id FROM rooms WHERE id = %(room_id)s::bigint FOR NO KEY UPDATE;

WITH room AS (
    SELECT r.id, r.last_seq, m.user_id, clock_timestamp() AS at,
        EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.room_id = r.id AND e.user_id = %(user_id)s::bigint AND e.request_id = %(request_id)s::text
        ) AS is_repeat
    FROM rooms AS r
    LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
    WHERE r.id = %(room_id)s::bigint AND (r.kind = 'public' OR m.user_id IS NOT NULL)
), removed AS (
    DELETE FROM members
    USING room
    WHERE members.room_id = room.id AND members.user_id = room.user_id AND NOT room.is_repeat
    RETURNING members.room_id, members.user_id, room.last_seq + 1 AS seq, room.at
), advanced AS (
    UPDATE rooms SET last_seq = removed.seq FROM removed WHERE rooms.id = removed.room_id
), inserted AS (
    INSERT INTO events (room_id, seq, kind, user_id, data, request_id, created_at)
    SELECT room_id, seq, 5, user_id, jsonb_build_object('action', 'left'), %(request_id)s::text, at
    FROM removed
    RETURNING room_id, seq, kind, user_id, body, message_no, data, request_id, created_at
)
SELECT 1 AS n,
    CASE WHEN e.seq IS NOT NULL THEN 'new' WHEN r.id IS NULL THEN 'not_found' ELSE 'already' END AS status,
    e.room_id, e.seq, e.kind, e.user_id, u.username, u.email, e.body, e.message_no, e.data, e.request_id, e.created_at
FROM (SELECT 1) AS one_row
LEFT JOIN room AS r ON true
LEFT JOIN inserted AS e ON true
LEFT JOIN users AS u ON u.id = e.user_id;
