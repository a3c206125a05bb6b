-- Records a command once. The lock of the room makes the insert wait for nobody. The lock of the user's row makes their
-- commands wait for one another, in whichever rooms and processes, so that none misses another in the count of open ones.
-- The last statement then sees what was committed.
-- Params: room_id bigint, user_id bigint, request_id text (the idempotency key), line text, has_bot boolean (whether a
-- bot is connected; if not, no new command is recorded), open_limit bigint (most open commands of a user).
-- Returns: one row: status, id. status: `new`; `duplicate`: recorded before, the id is the original's; `reused`: the
-- request_id belongs to another line or to a message; `join`: the room is public and has to be joined first;
-- `not_found`: the user cannot see the room; `archived`; `locked`: another transaction has kept the room locked;
-- `unavailable`: no bot is connected; `busy`: the user has too many open commands. id is null except for `new` and
-- `duplicate`.
SELECT lock_rooms(ARRAY[%(room_id)s::bigint]);

SELECT id FROM users WHERE id = %(user_id)s::bigint FOR NO KEY UPDATE;

INSERT INTO commands (room_id, user_id, request_id, line)
SELECT m.room_id, m.user_id, %(request_id)s::text, %(line)s::text
FROM members AS m
JOIN rooms AS r ON r.id = m.room_id
WHERE m.room_id = %(room_id)s::bigint AND m.user_id = %(user_id)s::bigint AND r.archived_at IS NULL
    AND %(has_bot)s::boolean AND rooms_are_locked()
    AND (SELECT count(*) FROM commands AS c
        WHERE c.user_id = %(user_id)s::bigint AND c.outcome IS NULL) < %(open_limit)s::bigint
    AND NOT EXISTS (SELECT 1 FROM events AS e
        WHERE e.room_id = m.room_id AND e.user_id = m.user_id AND e.request_id = %(request_id)s::text)
ON CONFLICT (room_id, user_id, request_id) DO NOTHING;

SELECT
    CASE
        WHEN c.line = %(line)s::text AND c.xmin = pg_current_xact_id()::xid THEN 'new'
        WHEN c.line = %(line)s::text THEN 'duplicate'
        WHEN c.id IS NOT NULL OR e.seq IS NOT NULL THEN 'reused'
        WHEN r.id IS NULL THEN 'not_found'
        WHEN r.archived_at IS NOT NULL THEN 'archived'
        WHEN m.user_id IS NULL THEN 'join'
        WHEN NOT rooms_are_locked() THEN 'locked'
        WHEN %(has_bot)s::boolean THEN 'busy'
        ELSE 'unavailable'
    END AS status,
    CASE WHEN c.line = %(line)s::text THEN c.id END AS id
FROM (
    SELECT %(room_id)s::bigint AS room_id, %(user_id)s::bigint AS user_id, %(request_id)s::text AS request_id
) AS request
LEFT JOIN LATERAL readable_room(request.user_id, request.room_id) AS r ON true
LEFT JOIN members AS m ON m.room_id = request.room_id AND m.user_id = request.user_id
LEFT JOIN commands AS c
    ON c.room_id = request.room_id AND c.user_id = request.user_id AND c.request_id = request.request_id
LEFT JOIN events AS e
    ON e.room_id = request.room_id AND e.user_id = request.user_id AND e.request_id = request.request_id;
