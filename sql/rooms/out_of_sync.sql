-- Lists the rooms with connections to this process whose last number is not the one that the hub knows. The poll asks
-- for it.
-- Params: room_ids bigint[], seqs bigint[]: the last number that the hub has sent, in the same order.
-- Returns: room_id, last_seq, of the rooms where they differ; last_seq is null when the room is gone.
SELECT hub.room_id, r.last_seq
FROM unnest(%(room_ids)s::bigint[], %(seqs)s::bigint[]) AS hub (room_id, seq)
LEFT JOIN rooms AS r ON r.id = hub.room_id
WHERE r.last_seq IS DISTINCT FROM hub.seq;
