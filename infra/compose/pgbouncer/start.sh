#!/bin/sh
# Starts PgBouncer before whichever server of PostgreSQL is the primary.
set -eu

password=$(cat /run/secrets/postgres_password)
config=/run/tandem
umask 077
printf '"tandem" "%s"\n' "$password" >"$config/users.txt"
cat >"$config/pgbouncer.ini" <<INI
[databases]
tandem = host=${PG_PRIMARY:-postgres} port=5432

[pgbouncer]
listen_addr = 0.0.0.0
listen_port = 6432
unix_socket_dir =
auth_type = scram-sha-256
auth_file = $config/users.txt
; A session each: an instance holds a lock in one while it migrates the database, and prepares statements in its connections.
pool_mode = session
max_client_conn = 500
default_pool_size = 40
; A server that is gone is asked again soon, and nobody waits for long meanwhile.
server_connect_timeout = 2
server_login_retry = 1
query_wait_timeout = 5
ignore_startup_parameters = extra_float_digits
INI
exec pgbouncer "$config/pgbouncer.ini"
