DROP TRIGGER users_count_name_change ON users;
DROP FUNCTION count_name_change();
ALTER TABLE epoch DROP COLUMN names_changed_at, DROP COLUMN names_version;
