-- Lists the rooms that users are in, for the hello of their new connections; many users at once.
-- Params: user_ids bigint[].
-- Returns: user_id, room_id, name, last_seq, last_message_no, read_message_no; by user_id and room_id.
SELECT m.user_id, m.room_id, r.name, r.last_seq, r.last_message_no, m.read_message_no
FROM members AS m
JOIN rooms AS r ON r.id = m.room_id
WHERE m.user_id = ANY (%(user_ids)s::bigint[]) AND r.archived_at IS NULL
ORDER BY m.user_id, m.room_id;
