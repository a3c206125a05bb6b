"""devtools/schema.py: the dump says each kind of object so that it comes back equal, or refuses it by name."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from chat import config
from chat.db import migrations
from chat.db.migrations import SchemaError
from devtools import schema
from tests.support.settings import ROOT

Row = tuple[Any, ...]

# Every row of these catalogues that belongs to the schema: its name, a definition that says what its oids mean, and all
# columns but those without meaning in another database.
CATALOGUES = {
    "pg_class": (
        "t.oid::regclass",
        "concat_ws(' ', (SELECT amname FROM pg_am WHERE oid = t.relam), t.reltablespace,"
        " CASE WHEN t.relkind IN ('v', 'm') THEN pg_get_viewdef(t.oid) END)",
        "t.oid IN (SELECT oid FROM ours)",
    ),
    "pg_attribute": (
        "t.attrelid::regclass, t.attname",
        "concat_ws(' ', row_number() OVER (PARTITION BY t.attrelid ORDER BY t.attnum),"
        " format_type(t.atttypid, t.atttypmod), t.attcollation::regcollation,"
        " (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS d"
        " WHERE d.adrelid = t.attrelid AND d.adnum = t.attnum))",
        "t.attrelid IN (SELECT oid FROM ours WHERE relkind <> 'i') AND t.attnum > 0 AND NOT t.attisdropped",
    ),
    "pg_constraint": (
        "t.conrelid::regclass, CASE WHEN t.contype <> 'n' THEN t.conname END",
        "pg_get_constraintdef(t.oid)",
        "t.conrelid IN (SELECT oid FROM ours)",
    ),
    "pg_index": ("t.indexrelid::regclass", "pg_get_indexdef(t.indexrelid)", "t.indrelid IN (SELECT oid FROM ours)"),
    "pg_sequence": ("t.seqrelid::regclass", "t.seqtypid::regtype::text", "t.seqrelid IN (SELECT oid FROM ours)"),
    "pg_rewrite": ("t.ev_class::regclass, t.rulename", "pg_get_ruledef(t.oid)", "t.ev_class IN (SELECT oid FROM ours)"),
    "pg_trigger": (
        "t.tgrelid::regclass, t.tgname",
        "pg_get_triggerdef(t.oid)",
        "NOT t.tgisinternal AND t.tgrelid IN (SELECT oid FROM ours)",
    ),
    "pg_policy": ("t.polrelid::regclass, t.polname", "''", "true"),
    "pg_inherits": ("t.inhrelid::regclass, t.inhparent::regclass", "''", "true"),
    "pg_proc": (
        "t.oid::regprocedure",
        "CASE WHEN t.prokind IN ('f', 'p') THEN pg_get_functiondef(t.oid) END",
        "t.pronamespace = 'public'::regnamespace",
    ),
    "pg_type": (
        "t.oid::regtype",
        "concat_ws(' ', t.typbasetype::regtype, t.typcollation::regcollation)",
        "t.typnamespace = 'public'::regnamespace AND t.typname !~ 'yoyo'",
    ),
    "pg_extension": ("t.extname", "t.extnamespace::regnamespace::text", "true"),
    "pg_namespace": ("t.nspname", "''", "t.oid >= 16384 AND t.nspname <> 'public'"),
    "pg_operator": ("t.oid::regoperator", "''", "t.oid >= 16384"),
    "pg_collation": ("t.collname", "''", "t.oid >= 16384"),
    "pg_statistic_ext": ("t.stxname", "''", "true"),
    "pg_event_trigger": ("t.evtname", "''", "true"),
    "pg_publication": ("t.pubname", "''", "true"),
    "pg_description": ("pg_describe_object(t.classoid, t.objoid, t.objsubid)", "''", "t.objoid >= 16384"),
}
WITHOUT_MEANING = {
    "pg_class": "relpages reltuples relallvisible relallfrozen relnatts",  # statistics, dropped columns
    "pg_attribute": "attnum attcacheoff attmissingval atthasmissing",
    "pg_constraint": "conname conkey confkey",
    "pg_index": "indkey",
    "pg_trigger": "tgattr",
}
DEPENDENCIES = """
SELECT pg_describe_object(classid, objid, objsubid) AS object,
    pg_describe_object(refclassid, refobjid, refobjsubid) AS needed, deptype::text
FROM pg_depend
WHERE objid >= 16384 AND objid NOT IN (SELECT oid FROM pg_constraint WHERE contype = 'n')
    AND objid NOT IN (SELECT oid FROM pg_trigger WHERE tgisinternal)
"""


def catalogue(connection: Any) -> dict[str, list[Row]]:
    """All that PostgreSQL knows of the schema, without oids; comparable between databases."""
    found: dict[str, list[Row]] = {}
    with connection.cursor() as cursor:
        for name, (key, definition, condition) in CATALOGUES.items():
            cursor.execute(
                "SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = %s::regclass"
                " AND (attname = ANY (%s) OR format_type(atttypid, NULL) = ANY (%s))",
                [
                    name,
                    WITHOUT_MEANING.get(name, "").split(),
                    ["oid", "oid[]", "oidvector", "regproc", "xid", "pg_node_tree"],
                ],
            )
            (ignored,) = cursor.fetchone()
            cursor.execute(
                "WITH ours AS (SELECT oid, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relname !~ 'yoyo')"
                f" SELECT concat_ws(' ', {key}) AS key, {definition}, to_jsonb(t) - %s::text[] FROM {name} AS t"
                f" WHERE {condition} ORDER BY 1, 2",
                [ignored],
            )
            found[name] = cursor.fetchall()
        cursor.execute(DEPENDENCIES)
        found["pg_depend"] = sorted(row for row in cursor.fetchall() if not any("yoyo" in each for each in row))
        found["pg_depend"] = [row for row in found["pg_depend"] if not any("pg_toast" in each for each in row)]
    return found


def rows(connection: Any) -> dict[str, list[Row]]:
    """The rows of all tables, without times and random ids."""
    found: dict[str, list[Row]] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename !~ 'yoyo'")
        for (name,) in cursor.fetchall():
            cursor.execute(
                "SELECT coalesce(array_agg(attname::text), '{}') FROM pg_attribute WHERE attrelid = %s::regclass"
                " AND atttypid IN ('timestamptz'::regtype, 'uuid'::regtype)",
                [f'"{name}"'],
            )
            (ignored,) = cursor.fetchone()
            cursor.execute(f'SELECT to_jsonb(t) - %s::text[] AS row FROM "{name}" AS t ORDER BY row', [ignored])
            found[name] = cursor.fetchall()
    return found


@pytest.fixture(scope="module")
def server() -> str:
    """The URL of the server on which scratch databases are created."""
    return config.load(dotenv=ROOT / ".env").database_url


@pytest.fixture(scope="module")
def migrated(server: str) -> Iterator[Any]:
    """A connection to a migrated database. Each test rolls back what it does there."""
    with schema.scratch(server) as url:
        migrations.apply(url)
        with closing(psycopg2.connect(url)) as connection:
            yield connection


@pytest.fixture
def connection(migrated: Any) -> Iterator[Any]:
    yield migrated
    migrated.rollback()


def execute(connection: Any, sql: str) -> None:
    """Run SQL that may begin with `-- since` and a version. Skip the test if this server cannot do it."""
    since = re.match(r"-- since (\d+)", sql)
    if since and connection.server_version < int(since[1]) * 10_000:
        pytest.skip(f"PostgreSQL {since[1]} is needed")
    try:
        connection.cursor().execute(sql)
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.FeatureNotSupported) as error:
        pytest.skip(f"this server cannot do it: {error}")


def test_the_dump_and_the_migrations_create_the_same_database(server: str, connection: Any) -> None:
    with schema.scratch(server) as url:
        schema.reset(url)
        with closing(psycopg2.connect(url)) as other:
            assert catalogue(other) == catalogue(connection)
            assert rows(other) == rows(connection)


# --- what the dump says -------------------------------------------------------------------------------

FUNCTION = "CREATE FUNCTION double(n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$ SELECT n * 2 $$;"
TRIGGER = "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
SAID = {
    "functions": FUNCTION
    + """
        CREATE FUNCTION double(t text, times int DEFAULT 2) RETURNS text LANGUAGE sql RETURN repeat(t, times);
        CREATE PROCEDURE forget(room bigint) LANGUAGE sql AS 'DELETE FROM members WHERE room_id = room';
        CREATE FUNCTION "Odd $function$ name"(OUT "%s" int) LANGUAGE plpgsql SECURITY DEFINER SET search_path = public
            AS $x$ BEGIN -- 100%, and $function$
                "%s" := 1; END $x$;
    """,
    "functions and tables that need each other's types": """
        CREATE FUNCTION all_users() RETURNS SETOF users LANGUAGE sql STABLE AS 'SELECT * FROM users';
        CREATE VIEW a_view AS SELECT id FROM all_users();
        CREATE FUNCTION of_view(v a_view) RETURNS SETOF a_view LANGUAGE sql AS 'SELECT v.*';
        CREATE TABLE holder (a_user users, v a_view);
    """,
    "a function whose statement needs what comes later": """
        CREATE TABLE zz (id int);
        CREATE VIEW zz_view AS SELECT id FROM zz;
        CREATE FUNCTION early() RETURNS SETOF int LANGUAGE sql AS 'SELECT id FROM zz_view';
        CREATE FUNCTION atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM zz_view; END;
    """,
    "functions in a table": FUNCTION
    + """
        CREATE TABLE a (n bigint DEFAULT double(1), m bigint GENERATED ALWAYS AS (double(n)) STORED,
            CONSTRAINT is_even CHECK (double(n) > n));
        CREATE INDEX a_double ON a (double(n)) WHERE double(n) > 7;
    """,
    "views": FUNCTION
    + """
        CREATE VIEW z_view AS SELECT u.id, r.name FROM users AS u JOIN rooms AS r ON r.created_by = u.id;
        CREATE VIEW a_view WITH (security_barrier = true) AS
            SELECT double(id) AS "two ids" FROM z_view WHERE name > '%';
        CREATE VIEW local WITH (check_option = local) AS SELECT id FROM rooms WHERE id > 7;
        CREATE RECURSIVE VIEW up (n) AS SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 9;
        ALTER VIEW z_view RENAME COLUMN name TO "Name";
    """,
    "columns": """
        CREATE TABLE "order" ("Odd, name" varchar(3) COLLATE "C" NOT NULL DEFAULT 'a''b', n numeric(10, 2)[],
            i int GENERATED ALWAYS AS IDENTITY, j smallint GENERATED BY DEFAULT AS IDENTITY,
            t tsvector GENERATED ALWAYS AS (to_tsvector('simple', "Odd, name")) STORED,
            at timestamptz(3) DEFAULT now());
        ALTER TABLE "order" RENAME COLUMN i TO k;
        ALTER TABLE "order" RENAME TO "Order";
        ALTER TABLE "Order" DROP COLUMN n, ADD COLUMN last bit varying(5) DEFAULT B'101';
        CREATE TABLE nothing ();
        CREATE TABLE tuned (id int) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
    """,
    "virtual generated columns": "-- since 18\nCREATE TABLE a (n int, m int GENERATED ALWAYS AS (n * 2) VIRTUAL)",
    "constraints": """
        CREATE TABLE a (id int CONSTRAINT "The key" PRIMARY KEY, n int, m int, r int4range,
            CONSTRAINT both_once UNIQUE (n, m) INCLUDE (id) DEFERRABLE INITIALLY DEFERRED,
            CONSTRAINT apart EXCLUDE USING gist (r WITH &&) WHERE (n > 0),
            CONSTRAINT one_way CHECK (n > 0) NO INHERIT);
        CREATE TABLE b (a int REFERENCES a ON DELETE CASCADE ON UPDATE SET NULL, c int);
        ALTER TABLE b ADD CONSTRAINT later FOREIGN KEY (c) REFERENCES a DEFERRABLE NOT VALID;
        ALTER TABLE b ADD CONSTRAINT soon CHECK (c > 0) NOT VALID;
        ALTER TABLE a ADD CONSTRAINT itself FOREIGN KEY (n) REFERENCES a;
    """,
    "nulls that are equal": "-- since 15\nCREATE TABLE a (n int, CONSTRAINT a_once UNIQUE NULLS NOT DISTINCT (n))",
    "indexes": """
        CREATE INDEX "The Index" ON rooms (lower(name) text_pattern_ops DESC NULLS LAST) INCLUDE (topic)
            WITH (fillfactor = 70) WHERE name <> ' ON public.';
        CREATE UNIQUE INDEX by_data ON events ((data ->> 'x'), room_id) WHERE kind IN (5, 6);
        CREATE INDEX words ON events USING gin (to_tsvector('simple', body));
        CREATE INDEX ids ON users USING hash (id);
    """,
    "triggers": TRIGGER
    + """
        CREATE TABLE changes (id bigint);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO changes VALUES (NEW.id); RETURN NEW; END $$;
        CREATE TRIGGER on_room AFTER INSERT ON rooms FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER on_name BEFORE UPDATE OF name, topic ON rooms FOR EACH ROW
            WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION watch('a', 'b''c');
        CREATE TRIGGER on_all AFTER UPDATE ON rooms REFERENCING NEW TABLE AS new_rooms EXECUTE FUNCTION watch();
        CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
            EXECUTE FUNCTION watch();
        CREATE VIEW a_view AS SELECT id FROM users;
        CREATE TRIGGER instead INSTEAD OF INSERT ON a_view FOR EACH ROW EXECUTE FUNCTION watch();
    """,
    "extensions": """
        CREATE EXTENSION pg_trgm;
        CREATE EXTENSION citext;
        CREATE TABLE a (word citext NOT NULL DEFAULT 'x');
        CREATE INDEX a_trgm ON events USING gin (body gin_trgm_ops);
        CREATE FUNCTION near(a text, b text) RETURNS real LANGUAGE sql RETURN similarity(a, b);
    """,
}


@pytest.mark.parametrize("sql", SAID.values(), ids=SAID)
def test_what_the_dump_says_comes_back_equal(connection: Any, sql: str) -> None:
    before = catalogue(connection)
    execute(connection, sql)
    wanted, statements = catalogue(connection), schema.statements(connection)
    assert wanted != before
    with connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for statement in statements:
            cursor.execute(statement)
    found = catalogue(connection)
    for name in wanted:
        assert found[name] == wanted[name], name
    assert schema.statements(connection) == statements


def test_rows_are_inserted_before_there_are_triggers(connection: Any) -> None:
    of_the_migrations = sum("TRIGGER" in each for each in schema.statements(connection))
    execute(connection, SAID["triggers"])
    statements = schema.statements(connection)
    last = max(number for number, each in enumerate(statements) if each.startswith("INSERT INTO"))
    assert all("TRIGGER" in each for each in statements[last + 1 :])
    assert len(statements) - last - 1 == of_the_migrations + 5


# --- what it refuses ----------------------------------------------------------------------------------

REFUSED = {
    "an enum": ("CREATE TYPE mood AS ENUM ('good')", "type mood"),
    "a composite type": ("CREATE TYPE pair AS (a int, b int)", "type pair"),
    "a domain": ("CREATE DOMAIN positive AS int CHECK (VALUE > 0)", "type positive"),
    "a range type": ("CREATE TYPE span AS RANGE (subtype = float8)", "type span"),
    "a sequence": ("CREATE SEQUENCE numbers", "sequence numbers"),
    "a serial column": ("CREATE TABLE a (id serial)", "sequence a_id_seq"),
    "an identity's options": (
        "CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY (START 100))",
        "sequence a_id_seq (options of a sequence)",
    ),
    "a materialized view": ("CREATE MATERIALIZED VIEW m AS SELECT id FROM users", "materialized view m"),
    "a partitioned table": ("CREATE TABLE p (id int) PARTITION BY LIST (id)", "table p"),
    "a partition": (
        "CREATE TABLE p (id int) PARTITION BY LIST (id); CREATE TABLE p1 PARTITION OF p DEFAULT",
        "table p1 (inheritance)",
    ),
    "inheritance": ("CREATE TABLE child () INHERITS (users)", "table child (inheritance)"),
    "a typed table": ("CREATE TYPE pair AS (a int); CREATE TABLE a OF pair", "table a (type that it is made of)"),
    "an unlogged table": ("CREATE UNLOGGED TABLE a (id int)", "table a (persistence)"),
    "a foreign table": (
        "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;"
        "CREATE FOREIGN TABLE f (id int) SERVER s",
        "foreign table f",
    ),
    "a foreign server": ("CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w", "server s"),
    "a foreign data wrapper": ("CREATE FOREIGN DATA WRAPPER w", "foreign-data wrapper w"),
    "a rule": ("CREATE RULE never AS ON DELETE TO rooms DO INSTEAD NOTHING", "rule never on table rooms"),
    "a policy": ("CREATE POLICY own ON rooms USING (true)", "policy own on table rooms"),
    "row security": ("ALTER TABLE rooms ENABLE ROW LEVEL SECURITY", "table rooms (row security)"),
    "a publication": ("CREATE PUBLICATION news FOR TABLE rooms", "publication news"),
    "a subscription": (
        "CREATE SUBSCRIPTION news CONNECTION 'dbname=x' PUBLICATION news WITH (connect = false, slot_name = NONE)",
        "subscription news",
    ),
    "an event trigger": (
        "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER alarm ON ddl_command_end EXECUTE FUNCTION f()",
        "event trigger alarm",
    ),
    "another schema": ("CREATE SCHEMA other", "schema other"),
    "an aggregate": ("CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int)", "function total(integer)"),
    "an operator": ("CREATE OPERATOR @@@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)", "operator @@@"),
    "an operator class": (
        "CREATE OPERATOR CLASS back FOR TYPE int USING btree AS FUNCTION 1 btint4cmp(int, int)",
        "operator class back",
    ),
    "a cast": ("CREATE CAST (text AS uuid) WITH INOUT", "cast from text to uuid"),
    "a collation": ('CREATE COLLATION mine FROM "C"', "collation mine"),
    "a conversion": ("CREATE CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", "conversion c"),
    "statistics": ("CREATE STATISTICS s (ndistinct) ON name, topic FROM rooms", "statistics object s"),
    "a text search configuration": (
        "CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple)",
        "text search configuration plain",
    ),
    "a language": ("CREATE LANGUAGE sure HANDLER plpgsql_call_handler", "language sure"),
    "an access method": ("CREATE ACCESS METHOD pile TYPE TABLE HANDLER heap_tableam_handler", "access method pile"),
    "an extension in another schema": (
        "CREATE SCHEMA other; CREATE EXTENSION citext SCHEMA other",
        "extension citext (schema or version that is not the default)",
    ),
    "an extension of an older version": (
        "CREATE EXTENSION citext VERSION '1.4'",
        "extension citext (schema or version that is not the default)",
    ),
    "a comment on a table": ("COMMENT ON TABLE rooms IS 'x'", "table rooms (comment)"),
    "a comment on a column": ("COMMENT ON COLUMN rooms.name IS 'x'", "column name of table rooms (comment)"),
    "a comment on a constraint": (
        "COMMENT ON CONSTRAINT rooms_pkey ON rooms IS 'x'",
        "constraint rooms_pkey on table rooms (comment)",
    ),
    "privileges on a table": ("GRANT SELECT ON rooms TO PUBLIC", "table rooms (privileges)"),
    "privileges on a column": ("GRANT SELECT (name) ON rooms TO PUBLIC", "column name of table rooms (privileges)"),
    "privileges on a function": (f"{FUNCTION} REVOKE ALL ON FUNCTION double FROM PUBLIC", "function double(bigint)"),
    "privileges on the schema": ("GRANT CREATE ON SCHEMA public TO PUBLIC", "schema public (privileges)"),
    "default privileges": ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", "default privileges"),
    "another owner": ("CREATE ROLE somebody; ALTER TABLE rooms OWNER TO somebody", "table rooms (owner)"),
    "a replica identity": ("ALTER TABLE rooms REPLICA IDENTITY FULL", "table rooms (replica identity)"),
    "an index as replica identity": (
        "CREATE UNIQUE INDEX i ON rooms (name); ALTER TABLE rooms REPLICA IDENTITY USING INDEX i",
        "index i (replica identity)",
    ),
    "a clustered index": ("CLUSTER rooms USING rooms_pkey", "index rooms_pkey (cluster mark)"),
    "an invalid index": (
        "CREATE INDEX i ON rooms (name); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass",
        "index i (state: it is not valid)",
    ),
    "options of a key's index": (
        "ALTER INDEX rooms_pkey SET (fillfactor = 70)",
        "index rooms_pkey (options of a constraint's index)",
    ),
    "a form of storage": (
        "ALTER TABLE rooms ALTER topic SET STORAGE EXTERNAL",
        "column topic of table rooms (storage)",
    ),
    "a compression": (
        "ALTER TABLE rooms ALTER topic SET COMPRESSION pglz",
        "column topic of table rooms (compression)",
    ),
    "a statistics target": (
        "ALTER TABLE rooms ALTER topic SET STATISTICS 7",
        "column topic of table rooms (statistics target)",
    ),
    "a statistics target of an index": (
        "CREATE INDEX i ON rooms (lower(topic)); ALTER INDEX i ALTER 1 SET STATISTICS 7",
        "column lower of index i (statistics target)",
    ),
    "options of a column": (
        "ALTER TABLE rooms ALTER topic SET (n_distinct = 7)",
        "column topic of table rooms (options)",
    ),
    "toast options": ("ALTER TABLE rooms SET (toast.autovacuum_enabled = false)", "table rooms (toast options)"),
    "a default of a view's column": (
        "CREATE VIEW v AS SELECT id FROM rooms; ALTER VIEW v ALTER id SET DEFAULT 7",
        "column id of view v (default)",
    ),
    "a disabled trigger": (
        f"{TRIGGER} CREATE TRIGGER t BEFORE INSERT ON rooms EXECUTE FUNCTION watch();"
        "ALTER TABLE rooms DISABLE TRIGGER t",
        "trigger t on table rooms (state: it is not simply enabled)",
    ),
    "a NOT NULL constraint that is not valid": (
        "-- since 18\nALTER TABLE rooms ADD CONSTRAINT never_null NOT NULL created_by NOT VALID",
        "constraint never_null on table rooms (form of a NOT NULL constraint)",
    ),
    "settings of the database": (
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = ''64kB''', current_database()); END $$",
        "(settings)",
    ),
}


@pytest.mark.parametrize(("sql", "named"), REFUSED.values(), ids=REFUSED)
def test_what_the_dump_cannot_say_is_refused_by_name(connection: Any, sql: str, named: str) -> None:
    execute(connection, sql)
    with pytest.raises(SchemaError) as caught:
        schema.statements(connection)
    assert named in str(caught.value)


def test_a_circle_is_refused_by_name(connection: Any) -> None:
    execute(
        connection,
        """
        CREATE TABLE a (n int);
        CREATE FUNCTION is_good(a) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
        ALTER TABLE a ADD CONSTRAINT good CHECK (is_good(a));
        """,
    )
    with pytest.raises(SchemaError, match=r"in an order: CREATE TABLE a \(; CREATE FUNCTION is_good"):
        schema.statements(connection)
