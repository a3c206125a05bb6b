-- Lists the first messages after a number, of a room that the reader may read.
-- Params: room_id bigint, reader_id bigint, after bigint (a seq, excluded), before bigint (a seq, excluded; null: no
-- end), limit bigint.
-- Returns: the columns of an event; by seq, oldest first. One row of nulls: no messages; no row: the room does not
-- exist for the reader.
SELECT event.*
FROM readable_room(%(reader_id)s::bigint, %(room_id)s::bigint) AS r
LEFT JOIN LATERAL (
    SELECT event.*
    FROM event_rows AS event
    WHERE event.room_id = r.id AND event.kind = 1 AND event.seq > %(after)s::bigint
        AND event.seq < coalesce(%(before)s::bigint, 9223372036854775807)
    ORDER BY event.seq
    LIMIT %(limit)s::bigint
) AS event ON true
ORDER BY event.seq;
