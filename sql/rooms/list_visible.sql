-- Lists the rooms that a user may read: the public ones and those that the user is a member of.
-- Params: user_id bigint, room_id bigint (only this room; null: all).
-- Returns: id, name, kind, topic, created_at, member_count, is_member, last_seq, last_message_no, read_message_no (0
-- if the user is not a member); by id. No row for one room: it does not exist for the user.
SELECT r.id, r.name, r.kind, r.topic, r.created_at,
    (SELECT count(*) FROM members AS all_members WHERE all_members.room_id = r.id) AS member_count,
    m.user_id IS NOT NULL AS is_member,
    r.last_seq, r.last_message_no, coalesce(m.read_message_no, 0) AS read_message_no
FROM rooms AS listed
CROSS JOIN LATERAL readable_room(%(user_id)s::bigint, listed.id) AS r
LEFT JOIN members AS m ON m.room_id = r.id AND m.user_id = %(user_id)s::bigint
WHERE listed.id BETWEEN coalesce(%(room_id)s::bigint, 0) AND coalesce(%(room_id)s::bigint, 9223372036854775807)
    AND r.archived_at IS NULL
ORDER BY r.id;
