-- Gets the user who may log in with an address.
-- Params: email text, in any case (upper first: see migration 0008).
-- Returns: one row: password_hash, id, username, email, created_at; no row: the address is unknown, or a bot's.
SELECT password_hash, id, username, email, created_at
FROM users
WHERE lower(upper(email)) = lower(upper(%(email)s::text)) AND NOT is_bot;
