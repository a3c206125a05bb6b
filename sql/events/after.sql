-- Reads a stretch of a room's log, every kind of event, for who may read it.
-- Params: room_id bigint, reader_id bigint (null: the server itself, which may read all), after bigint (a seq,
-- excluded), most bigint.
-- Returns: last_seq of the room, and the columns of an event; by seq, without holes. One row with a null event:
-- nothing after; no row: no such room for the reader.
SELECT r.last_seq,
    e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.client_id, e.created_at
FROM rooms AS r
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.client_id, l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = r.id AND l.seq > %(after)s::bigint
    ORDER BY l.seq
    LIMIT %(most)s::bigint
) AS e ON true
WHERE r.id = %(room_id)s::bigint
    AND (r.kind = 'public' OR %(reader_id)s::bigint IS NULL
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = %(reader_id)s::bigint))
ORDER BY e.seq;
