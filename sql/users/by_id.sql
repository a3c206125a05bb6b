-- Finds a user.
-- Params: user_id bigint.
-- Returns: one row: id, username, email, created_at; no row: unknown.
SELECT id, username, email, created_at
FROM users
WHERE id = %(user_id)s::bigint;
