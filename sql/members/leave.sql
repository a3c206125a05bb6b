-- Ends somebody's membership.
-- Params: room_id bigint, user_id bigint, client_id text: an earlier try with it that did it is all that it does.
-- Returns: one row: n (1), verdict, and the columns of an event. verdict: `new`; `already`: not a member, or an earlier
-- try ended it; `not_found`: no such room for him, or no more since an earlier try. The event is null unless new.
SELECT id FROM rooms WHERE id = %(room_id)s::bigint FOR NO KEY UPDATE;

WITH place AS (
    SELECT r.id, r.last_seq, m.user_id, clock_timestamp() AS at,
        EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.room_id = r.id AND e.user_id = %(user_id)s::bigint AND e.client_id = %(client_id)s::text
        ) AS known
    FROM rooms AS r
    LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
    WHERE r.id = %(room_id)s::bigint AND (r.kind = 'public' OR m.user_id IS NOT NULL)
), gone AS (
    DELETE FROM members
    USING place
    WHERE members.room_id = place.id AND members.user_id = place.user_id AND NOT place.known
    RETURNING members.room_id, members.user_id, place.last_seq + 1 AS seq, place.at
), raised AS (
    UPDATE rooms SET last_seq = gone.seq FROM gone WHERE rooms.id = gone.room_id
), written AS (
    INSERT INTO events (room_id, seq, kind, user_id, data, client_id, created_at)
    SELECT room_id, seq, 5, user_id, jsonb_build_object('action', 'left'), %(client_id)s::text, at
    FROM gone
    RETURNING room_id, seq, kind, user_id, body, message_no, data, client_id, created_at
)
SELECT 1 AS n,
    CASE WHEN w.seq IS NOT NULL THEN 'new' WHEN p.id IS NULL THEN 'not_found' ELSE 'already' END AS verdict,
    w.room_id, w.seq, w.kind, w.user_id, u.username, u.email, w.body, w.message_no, w.data, w.client_id, w.created_at
FROM (SELECT 1) AS always
LEFT JOIN place AS p ON true
LEFT JOIN written AS w ON true
LEFT JOIN users AS u ON u.id = w.user_id;
