-- What every installation has: the rooms that an account comes with, and the robot.
-- General is room 1: the original's clients say so.
-- depends: 0006.epoch

INSERT INTO rooms (name, topic, is_default)
VALUES ('General', 'Everything that has no room of its own', true), ('Random', 'Everything else', true);

INSERT INTO users (username, email, is_bot)
VALUES ('robot', 'robot', true);
