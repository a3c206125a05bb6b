-- Replaces a password hash by one with newer parameters, unless the hash has changed meanwhile or another transaction
-- changes it: PostgreSQL would log a wait that takes too long, with both hashes.
-- Params: user_id bigint, old_hash text, new_hash text.
-- Returns: nothing.
UPDATE users
SET password_hash = %(new_hash)s::text
WHERE id = (
    SELECT id
    FROM users
    WHERE id = %(user_id)s::bigint AND password_hash = %(old_hash)s::text
    FOR NO KEY UPDATE SKIP LOCKED
);
