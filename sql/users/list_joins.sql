-- Lists the events by which a user has joined the rooms that they are in.
-- Params: user_id bigint.
-- Returns: the columns of an event; by room.
SELECT event.*
FROM members AS m
JOIN event_rows AS event ON event.room_id = m.room_id AND event.seq = m.joined_seq
WHERE m.user_id = %(user_id)s::bigint
ORDER BY m.room_id;
