-- Query statistics for the dashboards. Runs once, when the database is created.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
