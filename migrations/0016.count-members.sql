-- Fills the counts of 0015. What writes to a room or to the members waits until they are there; what reads goes on. The
-- locks come first, so that the counts see every membership that was committed before them: the rooms in the order of
-- their ids and before the members, as in every other statement, so that nothing can deadlock.
-- depends: 0015.member-counts

DO $$ BEGIN PERFORM id FROM rooms ORDER BY id FOR NO KEY UPDATE; END $$;

LOCK TABLE members IN SHARE ROW EXCLUSIVE MODE;

UPDATE rooms
SET member_count = counted.members
FROM (SELECT room_id, count(*) AS members FROM members GROUP BY room_id) AS counted
WHERE rooms.id = counted.room_id AND rooms.member_count <> counted.members;

ALTER TABLE rooms VALIDATE CONSTRAINT rooms_member_count_counts;
