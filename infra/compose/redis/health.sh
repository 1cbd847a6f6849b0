#!/bin/sh
# Whether Redis responds. The password is in the environment, since every user can read a command line.
set -eu
REDISCLI_AUTH=$(cat /run/secrets/redis_password)
export REDISCLI_AUTH
[ "$(redis-cli --raw ping)" = PONG ]
