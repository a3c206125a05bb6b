-- Lists what is in the database and cannot be said by sql/schema/dump.sql, which must not leave it out in silence.
-- Owners are not listed if they are the current user, and nothing is that belongs to an extension.
-- Params: none.
-- Returns: object, a description that names it; by object.
WITH extension_members AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), relations AS (
    SELECT c.oid, c.relname, c.relkind, c.relam, c.reltablespace, c.relpersistence, c.relreplident, c.relrowsecurity,
        c.reloftype, c.reltoastrelid, c.relacl, c.relowner
    FROM pg_class AS c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relname !~ '^_?yoyo'
), found (classid, objid, objsubid, reason) AS (
    SELECT d.classid, d.objid, 0, 'kind of object'
    FROM pg_depend AS d
    LEFT JOIN pg_class AS c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
    LEFT JOIN pg_proc AS p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = 'public'::regnamespace
        AND d.classid <> 'pg_extension'::regclass
        AND NOT (c.oid IS NOT NULL AND (c.relkind IN ('r', 'v') OR c.relkind = 'S' AND EXISTS (
            SELECT 1 FROM pg_depend AS owned
            WHERE owned.classid = 'pg_class'::regclass AND owned.objid = c.oid AND owned.deptype = 'i')))
        AND NOT (p.oid IS NOT NULL AND p.prokind IN ('f', 'p'))
    UNION ALL
    SELECT 'pg_namespace'::regclass, oid, 0, 'kind of object'
    FROM pg_namespace
    WHERE oid >= 16384 AND nspname <> 'public' AND nspname !~ '^pg_(toast_)?temp_'
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_event_trigger
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_publication
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_subscription
    WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_foreign_data_wrapper
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_foreign_server
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_language WHERE oid >= 16384
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_cast WHERE oid >= 16384
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_am WHERE oid >= 16384
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_transform
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_default_acl
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_policy
    UNION ALL
    SELECT tableoid, oid, 0, 'kind of object' FROM pg_rewrite
    WHERE rulename <> '_RETURN' AND ev_class IN (SELECT oid FROM relations)
    UNION ALL
    SELECT x.tableoid, x.oid, 0, 'schema or version that is not the default'
    FROM pg_extension AS x
    LEFT JOIN pg_available_extensions AS a ON a.name = x.extname
    WHERE x.extname <> 'plpgsql'
        AND (x.extnamespace <> 'public'::regnamespace OR x.extversion IS DISTINCT FROM a.default_version)
    UNION ALL
    SELECT 'pg_class'::regclass, c.inhrelid, 0, 'inheritance'
    FROM pg_inherits AS c
    JOIN relations AS r ON r.oid = c.inhrelid AND r.relkind IN ('r', 'p', 'f')
    UNION ALL
    SELECT 'pg_class'::regclass, r.oid, 0, reason
    FROM relations AS r
    LEFT JOIN pg_am AS m ON m.oid = r.relam
    LEFT JOIN pg_class AS toast ON toast.oid = r.reltoastrelid
    CROSS JOIN LATERAL (VALUES
        ('access method', r.relkind = 'r' AND m.amname <> 'heap'),
        ('tablespace', r.reltablespace <> 0),
        ('persistence', r.relpersistence <> 'p'),
        ('replica identity', r.relkind = 'r' AND r.relreplident <> 'd'),
        ('row security', r.relrowsecurity),
        ('type that it is made of', r.reloftype <> 0),
        ('toast options', toast.reloptions IS NOT NULL),
        ('privileges', r.relacl IS NOT NULL),
        ('owner', r.relowner <> current_user::regrole)
    ) AS properties (reason, is_set)
    WHERE is_set
    UNION ALL
    SELECT 'pg_class'::regclass, r.oid, a.attnum, reason
    FROM relations AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type AS t ON t.oid = a.atttypid
    CROSS JOIN LATERAL (VALUES
        ('compression', a.attcompression <> ''),
        ('storage', r.relkind = 'r' AND a.attstorage <> t.typstorage),
        ('statistics target', coalesce(a.attstattarget, -1) <> -1),
        ('options', a.attoptions IS NOT NULL AND r.relkind = 'r'),
        ('privileges', a.attacl IS NOT NULL),
        ('default', r.relkind = 'v' AND a.atthasdef)
    ) AS properties (reason, is_set)
    WHERE is_set
    UNION ALL
    SELECT 'pg_class'::regclass, r.oid, 0, 'options of a sequence'
    FROM relations AS r
    JOIN pg_sequence AS s ON s.seqrelid = r.oid
    WHERE (s.seqstart, s.seqincrement, s.seqmin, s.seqcache, s.seqcycle) <> (1, 1, 1, 1, false)
        OR s.seqmax <> CASE s.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
            ELSE 9223372036854775807 END
    UNION ALL
    SELECT 'pg_class'::regclass, x.indexrelid, 0, reason
    FROM relations AS r
    JOIN pg_index AS x ON x.indrelid = r.oid
    JOIN pg_class AS i ON i.oid = x.indexrelid
    LEFT JOIN pg_constraint AS c ON c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x')
    CROSS JOIN LATERAL (VALUES
        ('state: it is not valid', NOT x.indisvalid),
        ('cluster mark', x.indisclustered),
        ('replica identity', x.indisreplident),
        ('options of a constraint''s index', c.oid IS NOT NULL AND i.reloptions IS NOT NULL)
    ) AS properties (reason, is_set)
    WHERE is_set
    UNION ALL
    SELECT c.tableoid, c.oid, 0, 'form of a NOT NULL constraint'
    FROM pg_constraint AS c
    JOIN relations AS r ON r.oid = c.conrelid
    WHERE c.contype = 'n' AND (NOT c.convalidated OR c.connoinherit)
    UNION ALL
    SELECT g.tableoid, g.oid, 0, 'state: it is not simply enabled'
    FROM pg_trigger AS g
    JOIN relations AS r ON r.oid = g.tgrelid
    WHERE g.tgenabled <> 'O'
    UNION ALL
    SELECT p.tableoid, p.oid, 0, reason
    FROM pg_proc AS p
    CROSS JOIN LATERAL (VALUES
        ('privileges', p.proacl IS NOT NULL),
        ('owner', p.proowner <> current_user::regrole)
    ) AS properties (reason, is_set)
    WHERE p.pronamespace = 'public'::regnamespace AND is_set
    UNION ALL
    SELECT n.tableoid, n.oid, 0, 'privileges'
    FROM pg_namespace AS n
    LEFT JOIN pg_init_privs AS i ON i.classoid = n.tableoid AND i.objoid = n.oid
    WHERE n.nspname = 'public' AND n.nspacl IS DISTINCT FROM i.initprivs
    UNION ALL
    SELECT classoid, objoid, objsubid, 'comment'
    FROM pg_description
    WHERE objoid >= 16384 AND classoid <> 'pg_extension'::regclass
    UNION ALL
    SELECT classoid, objoid, objsubid, 'security label' FROM pg_seclabel
    UNION ALL
    SELECT 'pg_database'::regclass, s.setdatabase, 0, 'settings'
    FROM pg_db_role_setting AS s
    JOIN pg_database AS d ON d.oid = s.setdatabase
    WHERE d.datname = current_database()
)
SELECT DISTINCT format('%%s (%%s)', pg_describe_object(f.classid, f.objid, f.objsubid), f.reason) AS object
FROM found AS f
WHERE (f.classid, f.objid) NOT IN (SELECT classid, objid FROM extension_members)
ORDER BY object;
