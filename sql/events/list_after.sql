-- Lists stretches of rooms' logs, every kind of event, for many requests at once. Equal requests share their rows.
-- Params, arrays of the same length, one element for each request: room_ids bigint[], reader_ids bigint[] (null: the
-- server itself, which may read everything), afters bigint[] (a seq, excluded), limits bigint[].
-- Returns: ordinals text (the 1-based positions of the requests that the row answers, divided by blanks), last_seq of
-- the room, and the columns of an event; by ordinals and seq, without holes. One row with a null event: there is nothing
-- after; no row: the room does not exist for the reader.
SELECT page.ordinals, page.last_seq, event.*
FROM (
    SELECT request.room_id, request.after, request.row_limit, r.last_seq,
        string_agg(request.ordinal::text, ' ') AS ordinals
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(afters)s::bigint[], %(limits)s::bigint[]
    ) WITH ORDINALITY AS request (room_id, reader_id, after, row_limit, ordinal)
    CROSS JOIN LATERAL readable_room(request.reader_id, request.room_id) AS r
    GROUP BY request.room_id, request.after, request.row_limit, r.last_seq
) AS page
LEFT JOIN LATERAL (
    SELECT event.*
    FROM event_rows AS event
    WHERE event.room_id = page.room_id AND event.seq > page.after
    ORDER BY event.seq
    LIMIT page.row_limit
) AS event ON true
ORDER BY page.ordinals, event.seq;
