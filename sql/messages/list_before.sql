-- Lists the last messages before a number, for many requests at once: a page of history as a client shows it. Equal
-- requests share their rows.
-- Params, arrays of the same length, one element for each request: room_ids bigint[], reader_ids bigint[], befores
-- bigint[] (a seq, excluded; null: from the end), limits bigint[].
-- Returns: ordinals bigint[] (the 1-based positions of the requests that the row answers), and the columns of an event;
-- by ordinals and seq, oldest first. One row with a null event: no messages; no row: the room does not exist for the
-- reader.
SELECT page.ordinals,
    e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.request_id, e.created_at
FROM (
    SELECT request.room_id, request.before, request.row_limit, array_agg(request.ordinal) AS ordinals
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(befores)s::bigint[], %(limits)s::bigint[]
    ) WITH ORDINALITY AS request (room_id, reader_id, before, row_limit, ordinal)
    JOIN rooms AS r ON r.id = request.room_id
    WHERE r.kind = 'public'
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = request.reader_id)
    GROUP BY request.room_id, request.before, request.row_limit
) AS page
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.request_id,
        l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = page.room_id AND l.kind = 1 AND l.seq < coalesce(page.before, 9223372036854775807)
    ORDER BY l.seq DESC
    LIMIT page.row_limit
) AS e ON true
ORDER BY page.ordinals, e.seq;
