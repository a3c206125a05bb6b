-- Finds out why an account was not created.
-- Params: username text, email text (normalised).
-- Returns: one row: field: `username` or `email`, which another account has; null: neither, so the default rooms were
-- locked by another transaction.
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM users WHERE lower(username) = lower(%(username)s::text)) THEN 'username'
    WHEN EXISTS (SELECT 1 FROM users WHERE lower(upper(email)) = lower(upper(%(email)s::text))) THEN 'email'
END AS field;
