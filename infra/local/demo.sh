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

gateway="http://127.0.0.1:$((8000 + PORT_OFFSET))"
log=.local/logs/demo.txt
"${PROGRAMS}loadtest" compare --target "$gateway" --rate 20 --duration 600s >"$log" 2>&1 &
traffic=$!
trap 'kill "$traffic" 2>/dev/null || true' EXIT
echo "Traffic: 20 requests/s of each kind until the end of the lesson; its log is $log"

# In a terminal the lesson waits for a guess.
step=()
if [ -t 0 ]; then step=(--step); fi
"${PROGRAMS}loadtest" lesson run memory "${step[@]}" "$@"
echo
echo 'The system runs on. The other lessons: make lesson. The end of everything: make down.'
