-- Lists the first messages after a number, of a room that the reader may read.
-- Params: room_id bigint, reader_id bigint, after bigint (a seq, excluded), before bigint (a seq, excluded; null: no
-- end), limit bigint.
-- Returns: the columns of an event; by seq, oldest first. One row of nulls: no messages; no row: the room does not
-- exist for the reader.
SELECT e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.request_id,
    e.created_at
FROM rooms AS r
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.request_id,
        l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = r.id AND l.kind = 1 AND l.seq > %(after)s::bigint
        AND l.seq < coalesce(%(before)s::bigint, 9223372036854775807)
    ORDER BY l.seq
    LIMIT %(limit)s::bigint
) AS e ON true
WHERE r.id = %(room_id)s::bigint
    AND (r.kind = 'public'
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = %(reader_id)s::bigint))
ORDER BY e.seq;
