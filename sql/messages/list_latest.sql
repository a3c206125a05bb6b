-- Lists the last messages of rooms, for many requests at once, with what has to be known to keep them in memory. Equal
-- requests share their rows.
-- Params, the first three arrays of the same length, one element for each request: room_ids bigint[], reader_ids
-- bigint[], limits bigint[], and settle_s double precision (longer than any transaction of ours lasts).
-- Returns: ordinals text (the 1-based positions of the requests that the row answers, divided by blanks), last_seq of the
-- room, epoch, as text, names_version, names_settled (whether no name has changed within the last settle_s seconds, so
-- that every transaction with an older name has ended), and the columns of an event; by ordinals and seq, oldest first.
-- One row with a null event: no messages; no row: the room does not exist for the reader.
SELECT page.ordinals, page.last_seq, epoch.id::text AS epoch, epoch.names_version,
    coalesce(epoch.names_changed_at < now() - make_interval(secs => %(settle_s)s::double precision), true)
        AS names_settled,
    event.*
FROM (
    SELECT request.room_id, request.row_limit, r.last_seq, string_agg(request.ordinal::text, ' ') AS ordinals
    FROM unnest(
        %(room_ids)s::bigint[], %(reader_ids)s::bigint[], %(limits)s::bigint[]
    ) WITH ORDINALITY AS request (room_id, reader_id, row_limit, ordinal)
    CROSS JOIN LATERAL readable_room(request.reader_id, request.room_id) AS r
    GROUP BY request.room_id, request.row_limit, r.last_seq
) AS page
CROSS JOIN epoch
LEFT JOIN LATERAL (
    SELECT event.*
    FROM event_rows AS event
    WHERE event.room_id = page.room_id AND event.kind = 1
    ORDER BY event.seq DESC
    LIMIT page.row_limit
) AS event ON true
ORDER BY page.ordinals, event.seq;
