-- Names of public rooms are one name if they differ in case, in width or in what cannot be seen alone. The server makes
-- the key of a name (room_name_key in chat/protocol/text.py) and stores it; the index decides between processes.
-- depends: 0012.command-limits

ALTER TABLE rooms ADD COLUMN name_key text;
CREATE UNIQUE INDEX rooms_name_key_key ON rooms (name_key) WHERE kind = 'public';

-- Rooms keep their names. The oldest one of several with the same key has it, and the others have none. These keys are
-- those of the server but for rare letters, whose case PostgreSQL maps otherwise; for them rooms_name_key stays.
UPDATE rooms
SET name_key = oldest.name_key
FROM (
    SELECT DISTINCT ON (name_key) id, name_key
    FROM (
        SELECT id, btrim(regexp_replace(normalize(replace(lower(upper(regexp_replace(normalize(name, NFKC),
            '[\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f'
            '\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb'
            '\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]',
            '', 'g'))), 'ß', 'ss'), NFKC), '\s+', ' ', 'g')) AS name_key
        FROM rooms
        WHERE kind = 'public'
    ) AS keyed
    ORDER BY name_key, id
) AS oldest
WHERE rooms.id = oldest.id;
