-- Lists the rooms of a user as a new socket needs them.
-- Params: user_id bigint.
-- Returns: room_id, name, last_seq, last_message_no, read_message_no; by room_id.
SELECT m.room_id, r.name, r.last_seq, r.last_message_no, m.read_message_no
FROM members AS m
JOIN rooms AS r ON r.id = m.room_id
WHERE m.user_id = %(user_id)s::bigint AND r.archived_at IS NULL
ORDER BY m.room_id;
