-- Replaces a password hash by one with newer parameters, unless the hash has changed meanwhile.
-- Params: user_id bigint, old_hash text, new_hash text.
-- Returns: nothing.
UPDATE users
SET password_hash = %(new_hash)s::text
WHERE id = %(user_id)s::bigint AND password_hash = %(old_hash)s::text;
