// Reads the event stream, reconnects by itself, and says how the connection is. By fetch and not by EventSource, which
// hides why the gateway rejects a stream, and cannot send the token.

export const TYPES = [
  'pools', 'routed', 'rates', 'instance_changed', 'instance_added', 'instance_removed', 'drain_progressed',
  'strategy_changed', 'overload_changed', 'connections_changed', 'discovery_changed', 'config_reloaded',
  'config_rejected', 'state_file_changed',
];
/** `rates` comes every second; after this long without a byte the page is stale. */
const STALE_MS = 3_000;
/** After this long the connection is given up. */
const DEAD_MS = 10_000;
const RETRY_MS = 1_000;
const REFUSED_RETRY_MS = 5_000;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Takes whole events out of a text; returns them and the rest. */
export function parse(text) {
  const blocks = text.split('\n\n');
  const rest = blocks.pop();
  const events = blocks.flatMap((block) => block.split('\n').filter((line) => line.startsWith('data: '))
    .map((line) => JSON.parse(line.slice(6))));
  return { events, rest };
}

/** Follows the stream forever. `dispatch` gets its events, and those of type `connection`. */
export async function follow(dispatch, { token = () => null } = {}) {
  for (;;) {
    let wait = RETRY_MS;
    try {
      await once(dispatch, token());
      dispatch({ type: 'connection', phase: 'reconnecting', detail: 'the stream ended' });
    } catch (error) {
      const refused = error instanceof Refused;
      if (refused) wait = REFUSED_RETRY_MS;
      dispatch({ type: 'connection', phase: refused ? 'refused' : 'reconnecting', detail: refused ? error.message : 'no connection' });
    }
    await pause(wait);
  }
}

class Refused extends Error {}

async function once(dispatch, token) {
  const aborted = new AbortController();
  let heard = performance.now();
  const watch = setInterval(() => {
    const silence = performance.now() - heard;
    if (silence > DEAD_MS) aborted.abort();
    else if (silence > STALE_MS) dispatch({ type: 'connection', phase: 'stale', detail: '' });
  }, 500);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch(`/control/v1/events?types=${TYPES.join(',')}`, { headers, signal: aborted.signal, cache: 'no-store' });
    if (!response.ok) {
      const problem = await response.json().catch(() => ({}));
      throw new Refused(problem.detail ?? `status ${response.status}`);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard = performance.now();
      const { events, rest } = parse(text + value);
      text = rest;
      dispatch({ type: 'connection', phase: 'live' });
      events.forEach(dispatch);
    }
  } finally {
    clearInterval(watch);
  }
}
