-- Makes a user a member of a public room. Everything that is in the room already counts as read.
-- Params: room_id bigint, user_id bigint, request_id text (the idempotency key: if an earlier try with it took effect,
-- this one does nothing).
-- Returns: one row: n (1), status, and the columns of an event. status: `new`; `already`: the user is a member, or an
-- earlier try took effect; `not_found`: the user cannot see such a room; `archived`. The event is null unless new.
SELECT id FROM rooms WHERE id = %(room_id)s::bigint FOR NO KEY UPDATE;

WITH room AS (
    SELECT r.id, r.name, r.kind, r.topic, r.archived_at, r.last_message_no, m.user_id IS NOT NULL AS is_member,
        EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.room_id = r.id AND e.user_id = %(user_id)s::bigint AND e.request_id = %(request_id)s::text
        ) AS is_repeat
    FROM readable_room(%(user_id)s::bigint, %(room_id)s::bigint) AS r
    LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
), event AS (
    SELECT event.*
    FROM room
    CROSS JOIN LATERAL append_event(room.id, %(user_id)s::bigint, 5::smallint, NULL, NULL,
        jsonb_build_object('action', 'joined', 'room',
            jsonb_build_object('id', room.id, 'name', room.name, 'kind', room.kind, 'topic', room.topic)),
        %(request_id)s::text, 1) AS event
    WHERE NOT room.is_member AND NOT room.is_repeat AND room.archived_at IS NULL
), joined AS (
    INSERT INTO members (room_id, user_id, joined_seq, read_message_no)
    SELECT event.room_id, event.user_id, event.seq, room.last_message_no
    FROM event, room
)
SELECT 1 AS n,
    CASE
        WHEN event.seq IS NOT NULL THEN 'new'
        WHEN room.id IS NULL THEN 'not_found'
        WHEN room.is_member OR room.is_repeat THEN 'already'
        ELSE 'archived'
    END AS status,
    event.*
FROM (SELECT 1) AS one_row
LEFT JOIN room ON true
LEFT JOIN event ON true;
