-- The sweep's question: which of the rooms with sockets here are not where the hub thinks they are?
-- Params: room_ids bigint[], seqs bigint[]: the last number that the hub has sent, in the same order.
-- Returns: room_id, last_seq, of the rooms where they differ; null when the room is gone.
SELECT here.room_id, r.last_seq
FROM unnest(%(room_ids)s::bigint[], %(seqs)s::bigint[]) AS here (room_id, seq)
LEFT JOIN rooms AS r ON r.id = here.room_id
WHERE r.last_seq IS DISTINCT FROM here.seq;
