-- Begins a new epoch. After a restore no client may rely on the event numbers that it knows.
-- Params: none.
-- Returns: one row: id, as text.
UPDATE epoch SET id = gen_random_uuid() RETURNING id::text AS id;
