#!/bin/sh
# Whether Redis answers. In the environment, for a command line is everybody's to read.
set -eu
REDISCLI_AUTH=$(cat /run/secrets/redis_password)
export REDISCLI_AUTH
[ "$(redis-cli --raw ping)" = PONG ]
