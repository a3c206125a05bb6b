-- An event's names are joined to it when it is read, so whoever keeps what was read has to know whether a name has
-- changed since. The transaction that changes one counts it here, by a trigger, so that no statement can forget it. A
-- constant default is not written to the rows.
-- depends: 0016.count-members

ALTER TABLE epoch
    ADD COLUMN names_version bigint NOT NULL DEFAULT 0,
    ADD COLUMN names_changed_at timestamptz;

CREATE FUNCTION count_name_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE epoch SET names_version = names_version + 1, names_changed_at = clock_timestamp();
    RETURN NULL;
END
$$;

CREATE TRIGGER users_count_name_change
    AFTER UPDATE OF username, email ON users
    FOR EACH ROW
    WHEN (OLD.username <> NEW.username OR OLD.email <> NEW.email)
    EXECUTE FUNCTION count_name_change();
