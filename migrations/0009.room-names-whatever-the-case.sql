-- As 0008, for the names of public rooms. Fails, and changes nothing, where two of them differ by no more than that.
-- depends: 0008.emails-whatever-the-case

DROP INDEX rooms_name_key;
CREATE UNIQUE INDEX rooms_name_key ON rooms (lower(upper(name))) WHERE kind = 'public';
