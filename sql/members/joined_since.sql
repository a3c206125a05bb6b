-- Lists recent joins of the users who are connected to this process. The poll asks for it. It looks back further than
-- any transaction lasts, because joined_at is taken before the commit.
-- Params: user_ids bigint[], seconds double precision (how far to look back).
-- Returns: user_id, room_id, joined_seq.
SELECT user_id, room_id, joined_seq
FROM members
WHERE joined_seq IS NOT NULL
    AND joined_at > now() - make_interval(secs => %(seconds)s::double precision)
    AND user_id = ANY (%(user_ids)s::bigint[]);
