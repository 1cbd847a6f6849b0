#!/usr/bin/env bash
# The first demo, on the system that runs: the board in a browser, some traffic, lesson 3.
# PROGRAMS is the folder of the binaries, PORT_OFFSET that of the system; arguments go to the lesson.
set -euo pipefail

board="http://127.0.0.1:$((8001 + PORT_OFFSET))/"
echo "The board: $board"
# macOS always has a screen; elsewhere a display is needed.
if [ "$(uname)" = Darwin ]; then
  open "$board"
elif [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && command -v xdg-open >/dev/null; then
  xdg-open "$board" >/dev/null 2>&1 || echo 'No browser could be started: open this address in one.'
else
  echo 'No browser is here: open this address in one.'
fi

traffic() { # method, curl's options for the body …
  local method=$1
  shift
  # Not as an argument, which every user of this machine could read.
  sed 's/^/Authorization: Bearer /' .local/control.token |
    curl --silent --show-error --fail --output /dev/null --request "$method" --header @- "$@" "${board}control/v1/traffic"
}
trap 'traffic DELETE || true' EXIT
traffic PUT --json '{"clients": 20, "stateless_percent": 50, "reads_percent": 70, "think_time_ms": 500,
  "clients_per_address": 1, "cookie_jar": true}'
echo 'Traffic: 20 clients, about 40 requests/s, until the end of the lesson; the board changes it, with the token in .local/control.token'

# In a terminal the lesson waits for a guess.
step=()
if [ -t 0 ]; then step=(--step); fi
"${PROGRAMS}loadtest" lesson run memory "${step[@]}" "$@"
echo
echo 'The system runs on. The other lessons: make lesson. The end of everything: make down.'
