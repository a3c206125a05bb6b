-- Lists the migrations that were applied to this database.
-- Params: none.
-- Returns: migration_id; by id. Fails with 42P01 (undefined table) if no migration was ever applied.
SELECT migration_id FROM _yoyo_migration ORDER BY migration_id;
