ALTER TABLE rooms DROP CONSTRAINT rooms_member_count_counts;
ALTER TABLE rooms ADD CONSTRAINT rooms_member_count_counts CHECK (member_count >= 0) NOT VALID;
