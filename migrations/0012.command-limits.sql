-- When a command got its outcome: a reply that does not say what it answers may be late for one that has just expired.
-- The indexes find those, and the open commands of a room and of a user, however many there are elsewhere.
-- depends: 0011.shared-sql

ALTER TABLE commands ADD COLUMN settled_at timestamptz;

CREATE INDEX commands_expired ON commands (room_id, settled_at) WHERE outcome = 'expired';
CREATE INDEX commands_open_in_room ON commands (room_id, asked_at, id) WHERE outcome IS NULL;
CREATE INDEX commands_open_of_user ON commands (user_id) WHERE outcome IS NULL;
