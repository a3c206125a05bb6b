-- Creates an account and makes the user a member of the default rooms, an event in each. Everything that is in these
-- rooms already counts as read. A name or an address that is taken is no error, because PostgreSQL would log it with the
-- hash. For the same reason the default rooms are locked first: no later statement waits, not even for an account of the
-- same name.
-- Params: username text, email text (normalised), password_hash text.
-- Returns: one row: id, username, email, created_at; no row: see users/find_conflict.
SELECT lock_rooms(ARRAY(SELECT id FROM rooms WHERE is_default AND archived_at IS NULL));

INSERT INTO users (username, email, password_hash)
SELECT %(username)s::text, %(email)s::text, %(password_hash)s::text
WHERE rooms_are_locked()
ON CONFLICT DO NOTHING;

WITH account AS (
    SELECT id, username, email, created_at
    FROM users
    WHERE lower(username) = lower(%(username)s::text) AND xmin = pg_current_xact_id()::xid
), event AS (
    SELECT event.room_id, event.user_id, event.seq, room.last_message_no
    FROM account
    CROSS JOIN (
        SELECT id, name, kind, topic, last_message_no
        FROM rooms
        WHERE is_default AND archived_at IS NULL
        ORDER BY id
    ) AS room
    CROSS JOIN LATERAL append_event(room.id, account.id, 5::smallint, NULL, NULL,
        jsonb_build_object('action', 'joined', 'room',
            jsonb_build_object('id', room.id, 'name', room.name, 'kind', room.kind, 'topic', room.topic)),
        NULL, 1) AS event
), joined AS (
    INSERT INTO members (room_id, user_id, joined_seq, read_message_no)
    SELECT room_id, user_id, seq, last_message_no
    FROM event
)
SELECT id, username, email, created_at FROM account;
