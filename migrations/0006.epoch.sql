-- One row, one uuid: new whenever the numbers may have gone back, so that clients do not trust their own.
-- depends: 0005.commands

CREATE TABLE epoch (
    only_one boolean NOT NULL DEFAULT true,
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    CONSTRAINT epoch_pkey PRIMARY KEY (only_one),
    CONSTRAINT epoch_only_one CHECK (only_one)
);

INSERT INTO epoch DEFAULT VALUES;
