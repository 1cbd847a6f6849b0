// How many frames per second the board keeps on the stream of a busy gateway: `make board-frames`. The figures depend on
// the machine, so only what the page shows is checked.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SIZES, screenshot, visit } from './browser.mjs';

const control = process.env.TANDEM_CONTROL;
const SECONDS = Number(process.env.FRAMES_SECONDS ?? 5);
const REQUESTS_PER_S = 5_000;
const SESSIONS = 300;

/**
 * Runs in the page, before its own scripts: the event stream becomes that of a gateway under this load. It is sampled as the
 * gateway samples, 50 requests a second and pool, in chunks of 50 ms.
 */
function replay({ requestsPerS, sessions, pools }) {
  const CHUNK_MS = 50;
  const SAMPLED_PER_S = 50;
  const instances = Object.fromEntries(pools.map(({ name, instances: members }) => [name, members]));
  const weight = requestsPerS / 2 / SAMPLED_PER_S;
  const rate = (pool) => ({
    type: 'rates', pool, strategy: pool === 'stateful' ? 'sticky' : 'round_robin', epoch: '00000001', interval_ms: 1_000,
    requests: requestsPerS / 2, verdicts: { home: requestsPerS / 2 }, retries: 0, failed: 0, not_found: 0, p50_ms: 1, p99_ms: 3,
    reads: { total: requestsPerS / 2, memory: requestsPerS / 2 },
    instances: instances[pool].map(({ name, addr }) => ({
      name, addr, state: 'healthy', requests: requestsPerS / 2 / instances[pool].length, in_flight: 3, streams: 0,
      live_sessions: 100, hot_sessions: 100,
    })),
  });
  let number = 0;
  const routed = (pool) => {
    number += 1;
    const turn = Math.floor(number / 2);
    const key = (Math.imul(turn % sessions, 2654435761) >>> 0).toString(16).padStart(8, '0');
    const verdict = pool === 'stateless' ? 'off' : turn % 20 ? 'home' : 'failover';
    return {
      type: 'routed', pool, instance: instances[pool][turn % instances[pool].length].name, verdict, key: pool === 'stateful' ? key : null,
      method: 'GET', route: '/api/v1/stateful/sessions/{session_id}', status: 200, duration_ms: 1.5, tried: [],
      request_id: `request-${number}`, sample_weight: weight,
    };
  };
  const fetched = window.fetch.bind(window);
  window.fetch = async (url, options) => {
    if (!String(url).startsWith('/control/v1/events')) return fetched(url, options);
    const encoder = new TextEncoder();
    const text = (events) => encoder.encode(events.map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`).join(''));
    let begin = performance.now();
    let sent = 0;
    let seconds = 0;
    return new Response(new ReadableStream({
      start(controller) {
        controller.enqueue(text([{ type: 'pools', pools }]));
        // Each session has had a request.
        for (let n = 0; n < sessions; n += 1) controller.enqueue(text([routed('stateless'), routed('stateful')]));
        begin = performance.now();
        setInterval(() => {
          const elapsed = (performance.now() - begin) / 1_000;
          const events = [];
          // A page that is late gets all that was sent meanwhile, as from a socket.
          for (; sent < elapsed * SAMPLED_PER_S; sent += 1) events.push(routed('stateless'), routed('stateful'));
          for (; seconds < Math.floor(elapsed); seconds += 1) events.push(rate('stateless'), rate('stateful'));
          if (events.length > 0) controller.enqueue(text(events));
        }, CHUNK_MS);
      },
    }), { status: 200, headers: { 'Content-Type': 'text/event-stream' } });
  };
}

/** Frames per second, and the longest time between two frames, in milliseconds. */
const frames = (page, seconds) => page.evaluate((ms) => new Promise((resolve) => {
  const gaps = [];
  const begin = performance.now();
  let last = begin;
  const frame = (now) => {
    gaps.push(now - last);
    last = now;
    if (now - begin < ms) return requestAnimationFrame(frame);
    const sorted = gaps.toSorted((a, b) => a - b);
    return resolve({ perS: (gaps.length * 1_000) / (now - begin), p99: sorted[Math.floor(sorted.length * 0.99)], longest: sorted.at(-1) });
  };
  requestAnimationFrame(frame);
}), seconds * 1_000);

describe('frames of the board', () => {
  for (const [size, viewport] of Object.entries(SIZES)) {
    it(`are drawn for ${REQUESTS_PER_S} requests/s with ${SESSIONS} sessions: ${size}`, async () => {
      const { pools } = await (await fetch(`${control}/control/v1/pools`)).json();
      const load = { requestsPerS: REQUESTS_PER_S, sessions: SESSIONS, pools };
      await visit('/', { at: control, viewport, before: (page) => page.addInitScript(replay, load) }, async (page) => {
        await page.locator('#connection[data-phase="live"]').waitFor();
        await page.waitForFunction(() => document.querySelectorAll('#keys option').length > 0);
        await page.locator('#sampling', { hasText: 'Sampled: each dot is 1 of 50 requests' }).waitFor();
        const { perS, p99, longest } = await frames(page, SECONDS);
        const ms = (time) => `${time.toFixed(0)} ms`;
        console.log(`${size}: ${perS.toFixed(1)} frames/s, between two frames p99 ${ms(p99)}, longest ${ms(longest)}`);
        assert(perS > 0);
        await screenshot(page, `board-busy-${size}`);
      });
    });
  }
});
