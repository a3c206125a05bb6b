-- The log. (room_id, seq) is dense: an event gets its number under the lock of its room's row.
-- kind is the type number of the frame that shows it: 1 message, 5 member, 6 room.
-- depends: 0003.members

CREATE TABLE events (
    room_id bigint NOT NULL,
    seq bigint NOT NULL,
    kind smallint NOT NULL,
    user_id bigint NOT NULL,
    body text,
    message_no bigint,
    target_seq bigint,
    data jsonb,
    client_id text,
    created_at timestamptz NOT NULL,
    edited_at timestamptz,
    deleted_at timestamptz,
    CONSTRAINT events_pkey PRIMARY KEY (room_id, seq),
    CONSTRAINT events_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id),
    CONSTRAINT events_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT events_seq_counts CHECK (seq > 0),
    CONSTRAINT events_messages_have_numbers CHECK ((kind = 1) = (message_no IS NOT NULL)),
    CONSTRAINT events_messages_have_bodies CHECK ((kind <> 1) OR (body IS NOT NULL))
);

-- A write is known again by its clientId: retry whatever you like.
CREATE UNIQUE INDEX events_client_id_key ON events (room_id, user_id, client_id) WHERE client_id IS NOT NULL;
-- History reads messages only, latest first.
CREATE INDEX events_messages ON events (room_id, seq) WHERE kind = 1;
