-- The sweep's other question: who of the users connected here has joined a room lately? It looks back further than
-- any transaction lasts, since joined_at is taken before its commit.
-- Params: user_ids bigint[], seconds double precision.
-- Returns: user_id, room_id, joined_seq.
SELECT user_id, room_id, joined_seq
FROM members
WHERE joined_seq IS NOT NULL
    AND joined_at > now() - make_interval(secs => %(seconds)s::double precision)
    AND user_id = ANY (%(user_ids)s::bigint[]);
