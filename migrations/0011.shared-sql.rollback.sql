DROP FUNCTION readable_room(bigint, bigint);
DROP FUNCTION append_event(bigint, bigint, smallint, bigint, text, jsonb, text);
DROP VIEW event_rows;
