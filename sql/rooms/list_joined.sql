-- Lists the rooms that users are in, for their new connections; many users at once. What the loop of the server would
-- take long to make of ten thousand rows is made here.
-- Params: user_ids bigint[].
-- Returns: one row for each user who is in a room that is not archived: user_id, room_ids, last_seqs (arrays, by room
-- id), hello_rooms (the rooms of the hello, a JSON array as text).
SELECT m.user_id, array_agg(m.room_id ORDER BY m.room_id) AS room_ids,
    array_agg(r.last_seq ORDER BY m.room_id) AS last_seqs,
    '[' || string_agg((
        SELECT row_to_json(room)::text
        FROM (
            SELECT m.room_id AS "chatroomId", r.name, r.last_seq AS seq, r.last_message_no AS "messageNo",
                m.read_message_no AS "readMessageNo"
        ) AS room
    ), ',' ORDER BY m.room_id) || ']' AS hello_rooms
FROM members AS m
JOIN rooms AS r ON r.id = m.room_id
WHERE m.user_id = ANY (%(user_ids)s::bigint[]) AND r.archived_at IS NULL
GROUP BY m.user_id;
