#!/bin/sh
# keepalived's check of this host: a request through Nginx to the gateway and back. Fails when either is away. What is behind the
# gateway is shared by both hosts, so it moves no address.
exec curl --silent --fail --insecure --max-time "${CHECK_TIMEOUT_S:-1}" --output /dev/null "${CHECK_URL:-https://127.0.0.1/health}"
