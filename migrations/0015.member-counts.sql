-- A list of rooms says how many members each has. The count stands in the room's row: every statement that adds or
-- removes a member changes it in the same UPDATE as the room's numbers, so it costs nothing. The column is added
-- without rewriting the table, and 0016 fills it in a transaction of its own, so that the lock of this one is short.
-- depends: 0014.lock-rooms

ALTER TABLE rooms ADD COLUMN member_count integer NOT NULL DEFAULT 0;
ALTER TABLE rooms ADD CONSTRAINT rooms_member_count_counts CHECK (member_count >= 0) NOT VALID;

DROP FUNCTION append_event(bigint, bigint, smallint, bigint, text, jsonb, text);

-- Appends one event to a room's log and returns it. The caller holds the lock of the room's row. member_change: how
-- many members the room has more by the statement that appends the event.
CREATE FUNCTION append_event(
    room bigint, author bigint, kind smallint, target bigint, body text, data jsonb, request_id text,
    member_change integer DEFAULT 0
) RETURNS event_rows LANGUAGE plpgsql AS $$
DECLARE
    is_message CONSTANT boolean := append_event.kind = 1;
    ends record;
    event event_rows;
BEGIN
    UPDATE rooms AS r
    SET last_seq = r.last_seq + 1, last_message_no = r.last_message_no + is_message::int,
        member_count = r.member_count + append_event.member_change
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

-- A new account joins the default rooms, which are few of many.
CREATE INDEX rooms_default ON rooms (id) WHERE is_default;
