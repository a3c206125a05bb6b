"""PostgreSQL: the pool, the statements of sql/, typed rows, migrations."""
