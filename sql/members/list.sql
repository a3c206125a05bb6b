-- Lists the members of a room that the reader may read.
-- Params: room_id bigint, reader_id bigint, after bigint (a user_id, excluded), limit bigint.
-- Returns: user_id, username, role, is_bot, joined_at; by user_id. One row of nulls: no members (left); no row: the
-- room does not exist for the reader.
SELECT listed.user_id, listed.username, listed.role, listed.is_bot, listed.joined_at
FROM readable_room(%(reader_id)s::bigint, %(room_id)s::bigint) AS r
LEFT JOIN LATERAL (
    SELECT m.user_id, u.username, m.role, u.is_bot, m.joined_at
    FROM members AS m
    JOIN users AS u ON u.id = m.user_id
    WHERE m.room_id = r.id AND m.user_id > %(after)s::bigint
    ORDER BY m.user_id
    LIMIT %(limit)s::bigint
) AS listed ON true
ORDER BY listed.user_id;
