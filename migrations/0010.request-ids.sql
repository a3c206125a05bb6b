-- The key by which a repeated write is recognised identifies a request, not a client, and is called so. Renaming changes
-- the catalogue alone: no row is written.
-- depends: 0009.room-names-whatever-the-case

ALTER TABLE events RENAME COLUMN client_id TO request_id;
ALTER TABLE commands RENAME COLUMN client_id TO request_id;
ALTER INDEX events_client_id_key RENAME TO events_request_id_key;
ALTER INDEX commands_client_id_key RENAME TO commands_request_id_key;
