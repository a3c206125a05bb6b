-- Who is in which room. joined_seq is the number of the event that said so; null for the default rooms,
-- where membership comes with the account and nobody is told. The sweep finds new members by it.
-- depends: 0002.rooms

CREATE TABLE members (
    room_id bigint NOT NULL,
    user_id bigint NOT NULL,
    role text NOT NULL DEFAULT 'member',
    joined_at timestamptz NOT NULL DEFAULT now(),
    joined_seq bigint,
    read_message_no bigint NOT NULL DEFAULT 0,
    CONSTRAINT members_pkey PRIMARY KEY (room_id, user_id),
    CONSTRAINT members_room_id_fkey FOREIGN KEY (room_id) REFERENCES rooms (id),
    CONSTRAINT members_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT members_role_known CHECK (role IN ('owner', 'moderator', 'member')),
    CONSTRAINT members_read_message_no_counts CHECK (read_message_no >= 0)
);

CREATE INDEX members_user_id ON members (user_id, room_id);
CREATE INDEX members_joined_at ON members (joined_at) WHERE joined_seq IS NOT NULL;
