-- When a command got its outcome: a reply that does not say what it answers may be late for one that has just expired.
-- By which write it got it: a write that is repeated, because nobody knows its outcome, must not answer a second command.
-- The indexes find those, and the open commands of a room and of a user, however many there are elsewhere.
-- depends: 0011.shared-sql

ALTER TABLE commands ADD COLUMN settled_at timestamptz, ADD COLUMN settled_by text;

CREATE INDEX commands_expired ON commands (room_id, settled_at) WHERE outcome = 'expired';
CREATE INDEX commands_settled_by ON commands (settled_by) WHERE settled_by IS NOT NULL;
CREATE INDEX commands_open_in_room ON commands (room_id, asked_at, id) WHERE outcome IS NULL;
CREATE INDEX commands_open_of_user ON commands (user_id) WHERE outcome IS NULL;
