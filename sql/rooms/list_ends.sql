-- Lists where the logs of rooms end, for many requests at once: what has to be known before a page is answered from
-- memory.
-- Params, arrays of the same length, one element for each request: room_ids bigint[], reader_ids bigint[].
-- Returns: ordinal (the 1-based position of the request), last_seq, epoch, as text, names_version; in no order. No row:
-- the room does not exist for the reader.
SELECT request.ordinal, r.last_seq, epoch.id::text AS epoch, epoch.names_version
FROM unnest(%(room_ids)s::bigint[], %(reader_ids)s::bigint[]) WITH ORDINALITY AS request (room_id, reader_id, ordinal)
CROSS JOIN LATERAL readable_room(request.reader_id, request.room_id) AS r
CROSS JOIN epoch;
