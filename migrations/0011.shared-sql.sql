-- What many statements need stands in one place each: an event's columns with its author's, the append of one event,
-- and the rule which rooms a user may read.
-- depends: 0010.request-ids

CREATE VIEW event_rows AS
SELECT e.room_id, e.seq, e.kind, e.user_id, u.username, u.email, e.body, e.message_no, e.data, e.request_id,
    e.created_at
FROM events AS e
JOIN users AS u ON u.id = e.user_id;

-- Appends one event to a room's log and returns it. The caller holds the lock of the room's row.
CREATE FUNCTION append_event(
    room bigint, author bigint, kind smallint, target bigint, body text, data jsonb, request_id text
) RETURNS event_rows LANGUAGE plpgsql AS $$
DECLARE
    is_message CONSTANT boolean := append_event.kind = 1;
    ends record;
    event event_rows;
BEGIN
    UPDATE rooms AS r
    SET last_seq = r.last_seq + 1, last_message_no = r.last_message_no + is_message::int
    WHERE r.id = room
    RETURNING r.last_seq, r.last_message_no INTO STRICT ends;

    INSERT INTO events (room_id, seq, kind, user_id, target_seq, body, message_no, data, request_id, created_at)
    VALUES (room, ends.last_seq, append_event.kind, author, target, append_event.body,
        CASE WHEN is_message THEN ends.last_message_no END, append_event.data, append_event.request_id,
        clock_timestamp());

    SELECT e.* INTO STRICT event FROM event_rows AS e WHERE e.room_id = room AND e.seq = ends.last_seq;
    RETURN event;
END
$$;

-- Returns the room if the reader may read it: it is public, or the reader is a member. A null reader is the server
-- itself, which may read everything. PostgreSQL expands it into the statements that use it as long as it stays a STABLE
-- function without STRICT, SECURITY DEFINER and SET, in a LATERAL join.
CREATE FUNCTION readable_room(reader bigint, room bigint) RETURNS SETOF rooms LANGUAGE sql STABLE AS $$
    SELECT r.*
    FROM rooms AS r
    WHERE r.id = room
        AND (reader IS NULL OR r.kind = 'public'
            OR EXISTS (SELECT 1 FROM members AS m WHERE m.room_id = r.id AND m.user_id = reader))
$$;
