-- Some letters have two small forms: lower() alone keeps ς and σ apart, whose capital is one Σ. Fails, and changes
-- nothing, where two accounts differ by no more than that.
-- depends: 0007.defaults

DROP INDEX users_email_key;
CREATE UNIQUE INDEX users_email_key ON users (lower(upper(email)));
