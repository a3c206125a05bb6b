-- Makes somebody a member of a public room. All that is in it already counts as read.
-- Params: room_id bigint, user_id bigint, client_id text: an earlier try with it that did it is all that it does.
-- Returns: one row: n (1), verdict, and the columns of an event. verdict: `new`; `already`: a member before, or joined by
-- an earlier try; `not_found`: no such room for him; `archived`. The event is null unless new.
SELECT id FROM rooms WHERE id = %(room_id)s::bigint FOR NO KEY UPDATE;

WITH place AS (
    SELECT r.id, r.name, r.kind, r.topic, r.archived_at, r.last_seq, r.last_message_no,
        m.user_id IS NOT NULL AS member, clock_timestamp() AS at,
        EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.room_id = r.id AND e.user_id = %(user_id)s::bigint AND e.client_id = %(client_id)s::text
        ) AS known
    FROM rooms AS r
    LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
    WHERE r.id = %(room_id)s::bigint AND (r.kind = 'public' OR m.user_id IS NOT NULL)
), joined AS (
    INSERT INTO members (room_id, user_id, joined_seq, read_message_no)
    SELECT id, %(user_id)s::bigint, last_seq + 1, last_message_no
    FROM place
    WHERE NOT member AND NOT known AND archived_at IS NULL
    RETURNING room_id, user_id, joined_seq
), raised AS (
    UPDATE rooms SET last_seq = joined.joined_seq FROM joined WHERE rooms.id = joined.room_id
), written AS (
    INSERT INTO events (room_id, seq, kind, user_id, data, client_id, created_at)
    SELECT joined.room_id, joined.joined_seq, 5, joined.user_id,
        jsonb_build_object('action', 'joined', 'room',
            jsonb_build_object('id', place.id, 'name', place.name, 'kind', place.kind, 'topic', place.topic)),
        %(client_id)s::text, place.at
    FROM joined, place
    RETURNING room_id, seq, kind, user_id, body, message_no, data, client_id, created_at
)
SELECT 1 AS n,
    CASE
        WHEN w.seq IS NOT NULL THEN 'new'
        WHEN p.id IS NULL THEN 'not_found'
        WHEN p.member OR p.known THEN 'already'
        ELSE 'archived'
    END AS verdict,
    w.room_id, w.seq, w.kind, w.user_id, u.username, u.email, w.body, w.message_no, w.data, w.client_id, w.created_at
FROM (SELECT 1) AS always
LEFT JOIN place AS p ON true
LEFT JOIN written AS w ON true
LEFT JOIN users AS u ON u.id = w.user_id;
