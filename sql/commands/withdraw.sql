-- Takes back a command that certainly reached no robot: its author is told, and may ask again with the same clientId.
-- Params: command_id bigint.
-- Returns: nothing.
DELETE FROM commands
WHERE id = %(command_id)s::bigint AND outcome IS NULL;
