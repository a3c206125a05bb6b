-- Gets the epoch, which identifies the run of event numbers that this database is in.
-- Params: none.
-- Returns: one row: id, as text.
SELECT id::text AS id FROM epoch;
