-- PostgreSQL writes a statement that fails to its log, with all values in it: passwords' hashes, and what people wrote.
-- An error that a function catches is not written there. So to wait in vain for a room becomes an answer.
-- depends: 0013.room-name-keys

-- Locks rooms, in the order of their ids, and tells the later statements of the transaction by rooms_are_locked().
-- False: another transaction held one of them for longer than lock_timeout; nothing is locked.
CREATE FUNCTION lock_rooms(ids bigint[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    locked boolean := false;
BEGIN
    BEGIN
        PERFORM FROM rooms WHERE id = ANY (ids) ORDER BY id FOR NO KEY UPDATE;
        locked := true;
    EXCEPTION WHEN lock_not_available OR query_canceled OR deadlock_detected THEN
        locked := false;
    END;
    PERFORM set_config('chat.rooms_are_locked', locked::text, true);
    RETURN locked;
END
$$;

CREATE FUNCTION rooms_are_locked() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT coalesce(current_setting('chat.rooms_are_locked', true), '') = 'true'
$$;
