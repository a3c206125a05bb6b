-- Lists stretches of rooms' logs, every kind of event, for many requests at once. Equal requests share their rows.
-- Params, arrays of the same length, one element for each request: room_ids bigint[], reader_ids bigint[] (null: the
-- server itself, which may read everything), afters bigint[] (a seq, excluded), limits bigint[].
-- Returns: ordinals (bigint[], the 1-based positions of the requests that the row answers), last_seq of the room, and
-- the columns of an event; by ordinals and seq, without holes. One row with a null event: there is nothing after; no
-- row: the room does not exist for the reader.
SELECT page.ordinals, page.last_seq,
    e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.request_id, e.created_at
FROM (
    SELECT request.room_id, request.after, request.row_limit, r.last_seq, array_agg(request.ordinal) AS ordinals
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(afters)s::bigint[], %(limits)s::bigint[]
    ) WITH ORDINALITY AS request (room_id, reader_id, after, row_limit, ordinal)
    JOIN rooms AS r ON r.id = request.room_id
    WHERE r.kind = 'public' OR request.reader_id IS NULL
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = request.reader_id)
    GROUP BY request.room_id, request.after, request.row_limit, r.last_seq
) AS page
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.request_id,
        l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = page.room_id AND l.seq > page.after
    ORDER BY l.seq
    LIMIT page.row_limit
) AS e ON true
ORDER BY page.ordinals, e.seq;
