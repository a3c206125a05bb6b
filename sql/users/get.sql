-- Gets a user.
-- Params: user_id bigint.
-- Returns: one row: id, username, email, created_at; no row: there is no such user.
SELECT id, username, email, created_at
FROM users
WHERE id = %(user_id)s::bigint;
