-- Lists the last messages before a number, for many requests at once: a page of history as a client shows it. Equal
-- requests share their rows.
-- Params, arrays of the same length, one element for each request: room_ids bigint[], reader_ids bigint[], befores
-- bigint[] (a seq, excluded; null: from the end), limits bigint[].
-- Returns: ordinals text (the 1-based positions of the requests that the row answers, divided by blanks: each row carries
-- them, and an array takes a twentieth of the whole statement more), and the columns of an event; by ordinals and seq,
-- oldest first. One row with a null event: no messages; no row: the room does not exist for the reader.
SELECT page.ordinals, event.*
FROM (
    SELECT request.room_id, request.before, request.row_limit, string_agg(request.ordinal::text, ' ') AS ordinals
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(befores)s::bigint[], %(limits)s::bigint[]
    ) WITH ORDINALITY AS request (room_id, reader_id, before, row_limit, ordinal)
    CROSS JOIN LATERAL readable_room(request.reader_id, request.room_id) AS r
    GROUP BY request.room_id, request.before, request.row_limit
) AS page
LEFT JOIN LATERAL (
    SELECT event.*
    FROM event_rows AS event
    WHERE event.room_id = page.room_id AND event.kind = 1 AND event.seq < coalesce(page.before, 9223372036854775807)
    ORDER BY event.seq DESC
    LIMIT page.row_limit
) AS event ON true
ORDER BY page.ordinals, event.seq;
