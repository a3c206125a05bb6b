-- Appends a batch of messages to their rooms' logs and returns a status for each. This is the only way to post.
-- The rooms are locked first. The snapshot of the second statement then sees everything that was committed before the
-- locks: duplicates, leaves, numbers. Whether a room is readable is only asked for authors who are not members.
-- To wait for a lock takes a subtransaction, because the error of waiting in vain would have all texts with it in
-- PostgreSQL's log; and an update of a row that was locked in one makes a MultiXact. Both together are a tenth of an
-- append. So the first attempt does not wait. It may lock some of the rooms; then nothing is appended, and the end of the
-- transaction gives them back, since to wait for the rest would be to wait out of order.
-- Params: room_ids bigint[], user_ids bigint[], request_ids text[] (idempotency keys, never null), bodies text[], of the
-- same length; locked_ids bigint[], each of the rooms once; waits boolean.
-- Returns: n (the 1-based position of the input), status, and the columns of an event; by n, a join before its message.
-- status:
-- `new`: appended. A member event with the n of a message: its author was not in the public room and joined it.
-- `duplicate`: the request_id is known; the event is the original.
-- `reused`: the request_id belongs to another text or to a command. `not_found`: the author cannot see such a room.
-- `archived`: the room takes no more messages. `locked`: another transaction has one of the rooms locked, or
-- without `waits` one does not exist; nothing was appended anywhere. For these four the event is null.
SELECT set_config('chat.rooms_are_locked', (CASE
    WHEN %(waits)s::boolean THEN lock_rooms(%(locked_ids)s::bigint[])
    ELSE cardinality(%(locked_ids)s::bigint[]) = (SELECT count(*) FROM (
        SELECT FROM rooms WHERE id = ANY (%(locked_ids)s::bigint[]) FOR NO KEY UPDATE SKIP LOCKED) AS free)
END)::text, true);

WITH requests AS (
    SELECT n, room_id, user_id, request_id, body,
        first_value(n) OVER duplicates AS first_n, first_value(body) OVER duplicates AS first_body
    FROM unnest(%(room_ids)s::bigint[], %(user_ids)s::bigint[], %(request_ids)s::text[], %(bodies)s::text[])
        WITH ORDINALITY AS input (room_id, user_id, request_id, body, n)
    WINDOW duplicates AS (PARTITION BY room_id, user_id, request_id ORDER BY n)
), classified AS (
    SELECT q.n, q.room_id, q.user_id, q.request_id, q.body, q.first_n, e.seq AS known_seq,
        m.user_id IS NULL AS joins, r.last_seq, r.last_message_no,
        CASE
            WHEN NOT (SELECT rooms_are_locked()) THEN 'locked'
            WHEN e.kind = 1 AND e.body = q.body THEN 'duplicate'
            WHEN e.seq IS NOT NULL OR c.id IS NOT NULL THEN 'reused'
            WHEN r.id IS NULL THEN 'not_found'
            WHEN m.user_id IS NULL AND NOT EXISTS (SELECT 1 FROM readable_room(q.user_id, q.room_id)) THEN 'not_found'
            WHEN r.archived_at IS NOT NULL THEN 'archived'
            WHEN q.n = q.first_n THEN 'new'
            WHEN q.body = q.first_body THEN 'duplicate'
            ELSE 'reused'
        END AS status
    FROM requests AS q
    LEFT JOIN rooms AS r ON r.id = q.room_id
    LEFT JOIN members AS m ON m.room_id = q.room_id AND m.user_id = q.user_id
    LEFT JOIN events AS e ON e.room_id = q.room_id AND e.user_id = q.user_id AND e.request_id = q.request_id
    LEFT JOIN commands AS c ON c.room_id = q.room_id AND c.user_id = q.user_id AND c.request_id = q.request_id
), new_events AS (
    SELECT n, 1 AS kind, room_id, user_id, request_id, body, last_seq, last_message_no
    FROM classified
    WHERE status = 'new'
    UNION ALL
    SELECT min(n), 5, room_id, user_id, NULL, NULL, min(last_seq), min(last_message_no)
    FROM classified
    WHERE status = 'new' AND joins
    GROUP BY room_id, user_id
), numbered AS (
    SELECT e.n, e.kind, e.room_id, e.user_id, e.request_id, e.body,
        e.last_seq + row_number() OVER log AS seq,
        CASE WHEN e.kind = 1 THEN e.last_message_no + count(*) FILTER (WHERE e.kind = 1) OVER log END AS message_no,
        CASE WHEN e.kind = 5 THEN (
            SELECT jsonb_build_object('action', 'joined', 'room',
                jsonb_build_object('id', r.id, 'name', r.name, 'kind', r.kind, 'topic', r.topic))
            FROM rooms AS r
            WHERE r.id = e.room_id) END AS data,
        (SELECT clock_timestamp()) AS created_at
    FROM new_events AS e
    WINDOW log AS (PARTITION BY e.room_id ORDER BY e.n, e.kind DESC)
), advanced AS (
    UPDATE rooms
    SET last_seq = ends.seq, last_message_no = ends.message_no, member_count = member_count + ends.joins
    FROM (
        SELECT room_id, max(seq) AS seq, max(message_no) AS message_no, count(*) FILTER (WHERE kind = 5) AS joins
        FROM numbered
        GROUP BY room_id
    ) AS ends
    WHERE rooms.id = ends.room_id
), authors AS (
    SELECT room_id, user_id, max(message_no) AS message_no, max(seq) FILTER (WHERE kind = 5) AS joined_seq
    FROM numbered
    GROUP BY room_id, user_id
), joined AS (
    INSERT INTO members (room_id, user_id, joined_seq, read_message_no)
    SELECT room_id, user_id, joined_seq, message_no FROM authors WHERE joined_seq IS NOT NULL
), marked_read AS (
    UPDATE members
    SET read_message_no = authors.message_no
    FROM authors
    WHERE members.room_id = authors.room_id AND members.user_id = authors.user_id
), inserted AS (
    INSERT INTO events (room_id, seq, kind, user_id, body, message_no, data, request_id, created_at)
    SELECT room_id, seq, kind, user_id, body, message_no, data, request_id, created_at FROM numbered
), results AS (
    SELECT n, 'new' AS status, room_id, seq, kind, user_id, body, message_no, data, request_id, created_at
    FROM numbered
    UNION ALL
    SELECT c.n, c.status, f.room_id, f.seq, f.kind, f.user_id, f.body, f.message_no, f.data, f.request_id, f.created_at
    FROM classified AS c
    JOIN numbered AS f ON f.n = c.first_n AND f.kind = 1
    WHERE c.status = 'duplicate' AND c.known_seq IS NULL
    UNION ALL
    SELECT c.n, c.status, e.room_id, e.seq, e.kind, e.user_id, e.body, e.message_no, e.data, e.request_id, e.created_at
    FROM classified AS c
    LEFT JOIN events AS e ON e.room_id = c.room_id AND e.seq = c.known_seq AND c.status = 'duplicate'
    WHERE c.status NOT IN ('new', 'duplicate') OR c.known_seq IS NOT NULL
)
SELECT e.n, e.status, e.room_id, e.seq, e.kind, e.user_id, u.username, u.email, e.body, e.message_no, e.data,
    e.request_id, e.created_at
FROM results AS e
LEFT JOIN users AS u ON u.id = e.user_id
ORDER BY e.n, e.kind DESC;
