-- Reads the last messages before a number, for many who ask at once: the history as a page shows it. Who asks for
-- the same gets the same rows.
-- Params: room_ids bigint[], reader_ids bigint[], befores bigint[] (a seq, excluded; null: from the end), mosts bigint[],
-- in the same order.
-- Returns: asks, the numbers, from 1, of those who get the row, divided by blanks, and the columns of an event; by asks
-- and seq, oldest first. One row with a null event: no messages; no row: no such room for the reader.
SELECT page.asks,
    e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.client_id, e.created_at
FROM (
    SELECT ask.room_id, ask.before, ask.most, string_agg(ask.n::text, ' ') AS asks
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(befores)s::bigint[], %(mosts)s::bigint[]
    ) WITH ORDINALITY AS ask (room_id, reader_id, before, most, n)
    JOIN rooms AS r ON r.id = ask.room_id
    WHERE r.kind = 'public'
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = ask.reader_id)
    GROUP BY ask.room_id, ask.before, ask.most
) AS page
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.client_id, l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = page.room_id AND l.kind = 1 AND l.seq < coalesce(page.before, 9223372036854775807)
    ORDER BY l.seq DESC
    LIMIT page.most
) AS e ON true
ORDER BY page.asks, e.seq;
