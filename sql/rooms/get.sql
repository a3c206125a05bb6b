-- Finds a room that a user may read.
-- Params: user_id bigint, room_id bigint.
-- Returns: one row: id, name, kind, topic, created_at, member_count, is_member, last_seq, last_message_no,
-- read_message_no (0 if the user is not a member). No row: it does not exist for the user, or is archived.
SELECT r.id, r.name, r.kind, r.topic, r.created_at, r.member_count, m.user_id IS NOT NULL AS is_member,
    r.last_seq, r.last_message_no, coalesce(m.read_message_no, 0) AS read_message_no
FROM rooms AS wanted
CROSS JOIN LATERAL readable_room(%(user_id)s::bigint, wanted.id) AS r
LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
WHERE wanted.id = %(room_id)s::bigint AND r.archived_at IS NULL;
