-- Refuses, by the foreign keys, as long as anybody has used them: a rollback destroys no conversation.
DELETE FROM users WHERE is_bot;
DELETE FROM rooms WHERE is_default;
