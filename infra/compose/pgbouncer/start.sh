#!/bin/sh
# Starts PgBouncer for the PostgreSQL server that is the primary: postgres-proxy knows which. In a container all variables have
# their defaults.
set -eu

password=$(cat "${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres_password}")
config=${STATE_DIR:-/run/tandem}
umask 077
printf '"tandem" "%s"\n' "$password" >"$config/users.txt"
cat >"$config/pgbouncer.ini" <<INI
[databases]
; A setting of the session, which transactions share: what the services set on a connection is not theirs alone.
tandem = host=${POSTGRES_HOST:-postgres-proxy} port=${POSTGRES_PORT:-5432} connect_query='SET statement_timeout = 5000'

[pgbouncer]
listen_addr = ${LISTEN:-0.0.0.0}
listen_port = ${PORT:-6432}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $config/users.txt
; The services keep nothing in a session between transactions: services/stateless-svc/src/store.rs.
pool_mode = transaction
max_client_conn = 500
default_pool_size = 40
; Retry an unavailable server soon, and fail waiting clients early.
server_connect_timeout = 2
server_login_retry = 1
query_wait_timeout = 5
ignore_startup_parameters = extra_float_digits
INI
exec pgbouncer "$config/pgbouncer.ini"
