-- Appends messages to their rooms: the one way to say something. Takes a run of them, gives each its verdict.
-- The rooms are locked first, by id so that two processes cannot deadlock; the second statement's snapshot then
-- sees all that was committed before the locks: twins, leaves, numbers.
-- Params, four arrays of the same length: room_ids bigint[], user_ids bigint[], client_ids text[] (never null),
-- bodies text[].
-- Returns: n (which input, from 1), verdict, and the columns of an event; by n, a join before its message. verdict:
-- `new`: appended. A member event with the n of a message: its author was not in the public room and joined it.
-- `duplicate`: known by its client_id; the event is the original.
-- `reused`: the client_id belongs to another text or to a command. `not_found`: no such room for the author.
-- `archived`: nobody writes there any more. For these three the event is null.
SELECT id FROM rooms WHERE id = ANY (%(room_ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE;

WITH clock AS MATERIALIZED (
    SELECT clock_timestamp() AS at
), asked AS (
    SELECT n, room_id, user_id, client_id, body,
        first_value(n) OVER twins AS first_n, first_value(body) OVER twins AS first_body
    FROM unnest(%(room_ids)s::bigint[], %(user_ids)s::bigint[], %(client_ids)s::text[], %(bodies)s::text[])
        WITH ORDINALITY AS input (room_id, user_id, client_id, body, n)
    WINDOW twins AS (PARTITION BY room_id, user_id, client_id ORDER BY n)
), judged AS (
    SELECT a.n, a.room_id, a.user_id, a.client_id, a.body, a.first_n, e.seq AS known_seq,
        m.user_id IS NULL AS joins,
        CASE
            WHEN e.kind = 1 AND e.body = a.body THEN 'duplicate'
            WHEN e.seq IS NOT NULL OR c.id IS NOT NULL THEN 'reused'
            WHEN r.id IS NULL OR (r.kind <> 'public' AND m.user_id IS NULL) THEN 'not_found'
            WHEN r.archived_at IS NOT NULL THEN 'archived'
            WHEN a.n = a.first_n THEN 'new'
            WHEN a.body = a.first_body THEN 'duplicate'
            ELSE 'reused'
        END AS verdict
    FROM asked AS a
    LEFT JOIN rooms AS r ON r.id = a.room_id
    LEFT JOIN members AS m ON m.room_id = a.room_id AND m.user_id = a.user_id
    LEFT JOIN events AS e ON e.room_id = a.room_id AND e.user_id = a.user_id AND e.client_id = a.client_id
    LEFT JOIN commands AS c ON c.room_id = a.room_id AND c.user_id = a.user_id AND c.client_id = a.client_id
), lines AS (
    SELECT n, 1 AS kind, room_id, user_id, client_id, body FROM judged WHERE verdict = 'new'
    UNION ALL
    SELECT min(n), 5, room_id, user_id, NULL, NULL FROM judged WHERE verdict = 'new' AND joins GROUP BY room_id, user_id
), numbered AS (
    SELECT l.n, l.kind, l.room_id, l.user_id, l.client_id, l.body,
        r.last_seq + row_number() OVER log AS seq,
        CASE WHEN l.kind = 1 THEN r.last_message_no + count(*) FILTER (WHERE l.kind = 1) OVER log END AS message_no,
        CASE WHEN l.kind = 5 THEN jsonb_build_object('action', 'joined', 'room',
            jsonb_build_object('id', r.id, 'name', r.name, 'kind', r.kind, 'topic', r.topic)) END AS data
    FROM lines AS l
    JOIN rooms AS r ON r.id = l.room_id
    WINDOW log AS (PARTITION BY l.room_id ORDER BY l.n, l.kind DESC)
), raised AS (
    UPDATE rooms
    SET last_seq = ends.seq, last_message_no = ends.message_no
    FROM (SELECT room_id, max(seq) AS seq, max(message_no) AS message_no FROM numbered GROUP BY room_id) AS ends
    WHERE rooms.id = ends.room_id
), own AS (
    SELECT room_id, user_id, max(message_no) AS message_no, max(seq) FILTER (WHERE kind = 5) AS joined_seq
    FROM numbered
    GROUP BY room_id, user_id
), joined AS (
    INSERT INTO members (room_id, user_id, joined_seq, read_message_no)
    SELECT room_id, user_id, joined_seq, message_no FROM own WHERE joined_seq IS NOT NULL
), seen AS (
    UPDATE members
    SET read_message_no = own.message_no
    FROM own
    WHERE members.room_id = own.room_id AND members.user_id = own.user_id
), written AS (
    INSERT INTO events (room_id, seq, kind, user_id, body, message_no, data, client_id, created_at)
    SELECT room_id, seq, kind, user_id, body, message_no, data, client_id, at FROM numbered, clock
), answers AS (
    SELECT n, 'new' AS verdict, room_id, seq, kind, user_id, body, message_no, data, client_id, at AS created_at
    FROM numbered, clock
    UNION ALL
    SELECT j.n, j.verdict, f.room_id, f.seq, f.kind, f.user_id, f.body, f.message_no, f.data, f.client_id, clock.at
    FROM judged AS j
    JOIN numbered AS f ON f.n = j.first_n AND f.kind = 1
    CROSS JOIN clock
    WHERE j.verdict = 'duplicate' AND j.known_seq IS NULL
    UNION ALL
    SELECT j.n, j.verdict, e.room_id, e.seq, e.kind, e.user_id, e.body, e.message_no, e.data, e.client_id, e.created_at
    FROM judged AS j
    LEFT JOIN events AS e ON e.room_id = j.room_id AND e.seq = j.known_seq AND j.verdict = 'duplicate'
    WHERE j.verdict NOT IN ('new', 'duplicate') OR j.known_seq IS NOT NULL
)
SELECT a.n, a.verdict, a.room_id, a.seq, a.kind, a.user_id, u.username, u.email, a.body, a.message_no, a.data,
    a.client_id, a.created_at
FROM answers AS a
LEFT JOIN users AS u ON u.id = a.user_id
ORDER BY a.n, a.kind DESC;
