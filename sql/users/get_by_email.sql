-- Gets the user who may log in with an address.
-- Params: email text, in any case (upper first: see migration 0008).
-- Returns: one row: id, username, email, created_at, password_hash; no row: the address is unknown, or a bot's.
SELECT id, username, email, created_at, password_hash
FROM users
WHERE lower(upper(email)) = lower(upper(%(email)s::text)) AND NOT is_bot;
