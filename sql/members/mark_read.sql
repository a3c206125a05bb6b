-- Moves a member's read marker forward, never back and never beyond the last message.
-- Params: room_id bigint, user_id bigint, message_no bigint.
-- Returns: one row: read_message_no as it is now; no row: the user is not a member.
UPDATE members AS m
SET read_message_no = greatest(m.read_message_no, least(%(message_no)s::bigint, r.last_message_no))
FROM rooms AS r
WHERE m.room_id = %(room_id)s::bigint AND m.user_id = %(user_id)s::bigint AND r.id = m.room_id
RETURNING m.read_message_no;
