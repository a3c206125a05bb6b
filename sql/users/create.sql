-- Creates an account and makes the user a member of the default rooms, without events, because these memberships come
-- with the account. Everything that is in these rooms already counts as read.
-- Params: username text, email text (normalised), password_hash text.
-- Returns: one row: id, username, email, created_at. A taken name or address is a unique violation of
-- users_username_key or users_email_key. The default rooms are locked first, in the order of their ids, as in
-- events/append: their count of members changes.
SELECT id FROM rooms WHERE is_default AND archived_at IS NULL ORDER BY id FOR NO KEY UPDATE;

WITH created AS (
    INSERT INTO users (username, email, password_hash)
    VALUES (%(username)s::text, %(email)s::text, %(password_hash)s::text)
    RETURNING id, username, email, created_at
), joined AS (
    INSERT INTO members (room_id, user_id, read_message_no)
    SELECT rooms.id, created.id, rooms.last_message_no
    FROM rooms, created
    WHERE rooms.is_default AND rooms.archived_at IS NULL
    RETURNING room_id
), counted AS (
    UPDATE rooms
    SET member_count = member_count + 1
    FROM joined
    WHERE rooms.id = joined.room_id
)
SELECT id, username, email, created_at FROM created;
