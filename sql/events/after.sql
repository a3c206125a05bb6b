-- Reads stretches of rooms' logs, every kind of event, for many who ask at once. Who asks for the same gets the same rows.
-- Params: room_ids bigint[], reader_ids bigint[] (null: the server itself, which may read all), afters bigint[] (a seq,
-- excluded), mosts bigint[], in the same order.
-- Returns: asks, the numbers, from 1, of those who get the row, divided by blanks, last_seq of the room, and the columns
-- of an event; by asks and seq, without holes. One row with a null event: nothing after; no row: no such room for the
-- reader.
SELECT page.asks, page.last_seq,
    e.room_id, e.seq, e.kind, e.user_id, e.username, e.email, e.body, e.message_no, e.data, e.client_id, e.created_at
FROM (
    SELECT ask.room_id, ask.after, ask.most, r.last_seq, string_agg(ask.n::text, ' ') AS asks
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(afters)s::bigint[], %(mosts)s::bigint[]
    ) WITH ORDINALITY AS ask (room_id, reader_id, after, most, n)
    JOIN rooms AS r ON r.id = ask.room_id
    WHERE r.kind = 'public' OR ask.reader_id IS NULL
        OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = ask.reader_id)
    GROUP BY ask.room_id, ask.after, ask.most, r.last_seq
) AS page
LEFT JOIN LATERAL (
    SELECT l.room_id, l.seq, l.kind, l.user_id, u.username, u.email, l.body, l.message_no, l.data, l.client_id, l.created_at
    FROM events AS l
    JOIN users AS u ON u.id = l.user_id
    WHERE l.room_id = page.room_id AND l.seq > page.after
    ORDER BY l.seq
    LIMIT page.most
) AS e ON true
ORDER BY page.asks, e.seq;
