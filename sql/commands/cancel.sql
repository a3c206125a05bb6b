-- Deletes a command that certainly reached no bot. Its author gets an error and may send it again with the same key.
-- Params: command_id bigint.
-- Returns: id; no row: the command has its outcome already.
DELETE FROM commands
WHERE id = %(command_id)s::bigint AND outcome IS NULL
RETURNING id;
