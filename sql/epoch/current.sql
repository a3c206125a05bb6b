-- Tells which run of numbers this database is in.
-- Params: none.
-- Returns: one row: id, as text.
SELECT id::text AS id FROM epoch;
