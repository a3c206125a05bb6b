-- Takes back a command that certainly reached no robot: its author is told, and may ask again with the same clientId.
-- Params: command_id bigint.
-- Returns: id; no row: it has its outcome already.
DELETE FROM commands
WHERE id = %(command_id)s::bigint AND outcome IS NULL
RETURNING id;
