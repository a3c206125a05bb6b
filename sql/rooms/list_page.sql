-- Lists the rooms that a user may read as finished JSON, a page at a time: the user's own rooms by id, then the others
-- by id. A room counts as an own one if the user has been a member since before the list began: a room that the user
-- joins while the list is read stays among the others, so it is not missed.
-- Params: user_id bigint, after bigint (a room's id, excluded; null: from the beginning), is_own boolean (whether that
-- room was listed as an own one; null: as it is now), began_us bigint (when the list began, in microseconds since 1970;
-- null: now), limit bigint.
-- Returns: one row: rooms (a JSON array as text), has_more, and for the page after it last_id, last_is_own, began_us.
WITH list AS (
    SELECT coalesce(%(began_us)s::bigint, (extract(epoch FROM now()) * 1000000)::bigint) AS began_us,
        coalesce(%(is_own)s::boolean, %(after)s::bigint IS NULL OR EXISTS (
            SELECT 1 FROM members AS m WHERE m.room_id = %(after)s::bigint AND m.user_id = %(user_id)s::bigint
        )) AS is_own
), own AS (
    SELECT m.room_id, m.read_message_no
    FROM members AS m
    JOIN rooms AS r ON r.id = m.room_id
    WHERE (SELECT is_own FROM list) AND m.user_id = %(user_id)s::bigint
        AND m.room_id > coalesce(%(after)s::bigint, 0) AND r.archived_at IS NULL
        AND m.joined_at <= timestamptz 'epoch' + (SELECT began_us FROM list) * interval '1 microsecond'
    ORDER BY m.room_id
    LIMIT %(limit)s::bigint + 1
), others AS (
    SELECT r.id, m.user_id IS NOT NULL AS is_member, coalesce(m.read_message_no, 0) AS read_message_no
    FROM rooms AS listed
    CROSS JOIN LATERAL readable_room(%(user_id)s::bigint, listed.id) AS r
    LEFT JOIN members AS m ON m.room_id = listed.id AND m.user_id = %(user_id)s::bigint
    WHERE listed.id > CASE WHEN (SELECT is_own FROM list) THEN 0 ELSE %(after)s::bigint END AND r.archived_at IS NULL
        AND coalesce(m.joined_at > timestamptz 'epoch' + (SELECT began_us FROM list) * interval '1 microsecond', true)
    ORDER BY listed.id
    LIMIT greatest(0, %(limit)s::bigint + 1 - (SELECT count(*) FROM own))
), numbered AS (
    SELECT room_id, is_own, is_member, read_message_no, row_number() OVER (ORDER BY is_own DESC, room_id) AS n
    FROM (
        SELECT room_id, true AS is_own, true AS is_member, read_message_no FROM own
        UNION ALL
        SELECT id, false, is_member, read_message_no FROM others
    ) AS page
), encoded AS (
    SELECT p.n, p.room_id, p.is_own, (
        SELECT row_to_json(room)
        FROM (
            SELECT r.id, r.name, r.kind, r.topic,
                to_char(r.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS "createdAt",
                r.member_count AS "memberCount", p.is_member AS "isMember", r.last_seq AS "lastSeq",
                r.last_message_no AS "lastMessageNo", p.read_message_no AS "readMessageNo"
        ) AS room
    ) AS room
    FROM numbered AS p
    JOIN rooms AS r ON r.id = p.room_id
    WHERE p.n <= %(limit)s::bigint
)
SELECT '[' || coalesce((SELECT string_agg(room::text, ',' ORDER BY n) FROM encoded), '') || ']' AS rooms,
    (SELECT count(*) FROM numbered) > %(limit)s::bigint AS has_more,
    last.room_id AS last_id, last.is_own AS last_is_own, list.began_us
FROM list
LEFT JOIN encoded AS last ON last.n = %(limit)s::bigint;
