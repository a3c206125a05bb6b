DROP INDEX rooms_default;
DROP FUNCTION append_event(bigint, bigint, smallint, bigint, text, jsonb, text, integer);

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

ALTER TABLE rooms DROP COLUMN member_count;
