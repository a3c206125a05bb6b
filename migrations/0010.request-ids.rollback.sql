ALTER INDEX commands_request_id_key RENAME TO commands_client_id_key;
ALTER INDEX events_request_id_key RENAME TO events_client_id_key;
ALTER TABLE commands RENAME COLUMN request_id TO client_id;
ALTER TABLE events RENAME COLUMN request_id TO client_id;
