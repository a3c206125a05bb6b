-- Begins a new run of numbers: after a restore, no client may trust his own.
-- Params: none.
-- Returns: one row: id, as text.
UPDATE epoch SET id = gen_random_uuid() RETURNING id::text AS id;
