DROP INDEX commands_open_of_user;
DROP INDEX commands_open_in_room;
DROP INDEX commands_settled_by;
DROP INDEX commands_expired;
ALTER TABLE commands DROP COLUMN settled_by, DROP COLUMN settled_at;
