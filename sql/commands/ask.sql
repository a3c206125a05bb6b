-- Notes a command, once. The insert waits for a twin that is being committed; the second statement then sees it.
-- Params: room_id bigint, user_id bigint, client_id text, line text, listening boolean (whether a robot is there; else
-- nothing new is noted).
-- Returns: one row: verdict, id. verdict: `new`; `duplicate`: asked before, the id is the original's; `reused`: the
-- client_id belongs to another line or to a message; `join`: the room is public, join it first; `not_found`;
-- `archived`; `unavailable`: nobody listens. id is null for the last five.
INSERT INTO commands (room_id, user_id, client_id, line)
SELECT m.room_id, m.user_id, %(client_id)s::text, %(line)s::text
FROM members AS m
JOIN rooms AS r ON r.id = m.room_id
WHERE m.room_id = %(room_id)s::bigint AND m.user_id = %(user_id)s::bigint AND r.archived_at IS NULL
    AND %(listening)s::boolean
    AND NOT EXISTS (SELECT 1 FROM events AS e
        WHERE e.room_id = m.room_id AND e.user_id = m.user_id AND e.client_id = %(client_id)s::text)
ON CONFLICT (room_id, user_id, client_id) DO NOTHING;

SELECT
    CASE
        WHEN c.line = %(line)s::text AND c.xmin = pg_current_xact_id()::xid THEN 'new'
        WHEN c.line = %(line)s::text THEN 'duplicate'
        WHEN c.id IS NOT NULL OR e.seq IS NOT NULL THEN 'reused'
        WHEN r.id IS NULL OR (r.kind <> 'public' AND m.user_id IS NULL) THEN 'not_found'
        WHEN r.archived_at IS NOT NULL THEN 'archived'
        WHEN m.user_id IS NULL THEN 'join'
        ELSE 'unavailable'
    END AS verdict,
    CASE WHEN c.line = %(line)s::text THEN c.id END AS id
FROM (SELECT %(room_id)s::bigint AS room_id, %(user_id)s::bigint AS user_id, %(client_id)s::text AS client_id) AS a
LEFT JOIN rooms AS r ON r.id = a.room_id
LEFT JOIN members AS m ON m.room_id = a.room_id AND m.user_id = a.user_id
LEFT JOIN commands AS c ON c.room_id = a.room_id AND c.user_id = a.user_id AND c.client_id = a.client_id
LEFT JOIN events AS e ON e.room_id = a.room_id AND e.user_id = a.user_id AND e.client_id = a.client_id;
