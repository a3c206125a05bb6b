DROP FUNCTION rooms_are_locked();
DROP FUNCTION lock_rooms(bigint[]);
