-- Lists the migrations that this database has.
-- Params: none.
-- Returns: migration_id; by id. Fails with 42P01 (no such table) where none was ever applied.
SELECT migration_id FROM _yoyo_migration ORDER BY migration_id;
