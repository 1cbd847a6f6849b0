-- What each kind of query costs, for the dashboards. Run once, when the database is made.
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
