DROP INDEX rooms_name_key_key;
ALTER TABLE rooms DROP COLUMN name_key;
