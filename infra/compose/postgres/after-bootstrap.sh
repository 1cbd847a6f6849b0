#!/bin/bash
# Patroni calls it once, when it has created the cluster: the services' database, and query statistics for the dashboards.
#
#   after-bootstrap.sh URL      of the superuser, in the database postgres
set -euo pipefail

psql --quiet --set ON_ERROR_STOP=1 "$1" --command='CREATE DATABASE tandem'
# The last statement names the other database.
psql --quiet --set ON_ERROR_STOP=1 "$1" <<'SQL'
\connect tandem
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
SQL
