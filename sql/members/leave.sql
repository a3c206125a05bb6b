-- Ends a user's membership of a room.
-- Params: room_id bigint, user_id bigint, request_id text (the idempotency key: if an earlier try with it took effect,
-- this one does nothing).
-- Returns: one row: n (1), status, and the columns of an event. status: `new`; `already`: the user is not a member, or
-- an earlier try took effect; `not_found`: the user cannot see such a room, or no longer since an earlier try. The
-- event is null unless new.
SELECT id FROM rooms WHERE id = %(room_id)s::bigint FOR NO KEY UPDATE;

WITH room AS (
    SELECT r.id,
        EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.room_id = r.id AND e.user_id = %(user_id)s::bigint AND e.request_id = %(request_id)s::text
        ) AS is_repeat
    FROM readable_room(%(user_id)s::bigint, %(room_id)s::bigint) AS r
), removed AS (
    DELETE FROM members
    USING room
    WHERE members.room_id = room.id AND members.user_id = %(user_id)s::bigint AND NOT room.is_repeat
    RETURNING members.room_id, members.user_id
), event AS (
    SELECT event.*
    FROM removed
    CROSS JOIN LATERAL append_event(removed.room_id, removed.user_id, 5::smallint, NULL, NULL,
        jsonb_build_object('action', 'left'), %(request_id)s::text, -1) AS event
)
SELECT 1 AS n,
    CASE WHEN event.seq IS NOT NULL THEN 'new' WHEN room.id IS NULL THEN 'not_found' ELSE 'already' END AS status,
    event.*
FROM (SELECT 1) AS one_row
LEFT JOIN room ON true
LEFT JOIN event ON true;
