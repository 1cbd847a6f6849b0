#!/usr/bin/env node
// A conversation with Tandem: requests by fetch, and a WebSocket that misses nothing.
//
//     npm ci
//     NODE_EXTRA_CA_CERTS=../../.local/tls/ca.pem node chat.mjs https://127.0.0.1:8443 5
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import WebSocket from 'ws';

const [url, count = '5'] = process.argv.slice(2);
const messages = Number(count);
const sessions = `${url}/api/v1/stateful/sessions`;
// The outcome of a write that ends so may be unknown. With its key it can be repeated.
const REPEATABLE = new Set([429, 502, 503, 504]);
const ATTEMPTS = 12;

/** Repeats what failed on its way. All that this program sends is safe to repeat. */
async function request(method, target, { body, headers = {} } = {}) {
  const options = { method, headers, body: body && JSON.stringify(body) };
  if (body) options.headers = { 'Content-Type': 'application/json', ...headers };
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    let wait = Math.min(100 * 2 ** attempt, 2000) * (0.5 + Math.random() / 2);
    try {
      const response = await fetch(target, options);
      if (!REPEATABLE.has(response.status)) return response;
      const { code } = await response.json();
      console.error(`${method}: ${code}, repeating`);
      wait = Math.max(wait, 1000 * Number(response.headers.get('Retry-After') ?? 0));
    } catch (error) {
      console.error(`${method}: ${error.cause?.code ?? error.message}, repeating`);
    }
    await sleep(wait);
  }
  throw new Error(`${method} failed ${ATTEMPTS} times`);
}

/** One key for one write, however often it is sent. */
function write(method, target, body, headers = {}) {
  return request(method, target, { body, headers: { 'Idempotency-Key': randomUUID(), ...headers } });
}

/** A session's live connection, which opens again after the last message that it has. */
class Live {
  last = 0;
  connections = 0;
  received = [];
  #pending = new Map(); // posts without a response: ref → frame, resolve, reject

  constructor(session) {
    this.address = `${sessions.replace(/^http/, 'ws')}/${session}/live`;
    this.ended = this.#run();
  }

  /** Posts by the connection, once, through however many connections that takes. */
  post(message) {
    const ref = randomUUID();
    const frame = JSON.stringify({ message, idempotency_key: randomUUID(), ref });
    return new Promise((resolve, reject) => {
      this.#pending.set(ref, { frame, resolve, reject });
      if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame);
    });
  }

  async #run() {
    for (;;) {
      this.connections += 1;
      this.socket = new WebSocket(`${this.address}?last_event_id=${this.last}`);
      this.socket.on('error', (error) => console.error(`live: ${error.message}`));
      this.socket.on('open', () => this.#pending.forEach(({ frame }) => this.socket.send(frame)));
      this.socket.on('message', (text) => this.#take(JSON.parse(text)));
      const [code] = await once(this.socket, 'close');
      if (code === 4404) return; // the session was deleted or has expired
      console.error(`live: closed with ${code}, resuming after message ${this.last}`);
      await sleep(100 + 200 * Math.random());
    }
  }

  #take({ event, id, ref, data, retry_after_s: wait }) {
    if (event === 'message') {
      this.last = id;
      this.received.push(id);
    }
    const post = this.#pending.get(ref);
    if (event === 'posted') {
      this.#pending.delete(ref);
      post?.resolve(data);
    } else if (event === 'error' && wait) {
      setTimeout(() => this.socket.send(post.frame), 1000 * wait);
    } else if (event === 'error') {
      this.#pending.delete(ref);
      post?.reject(new Error(`${data.code}: ${data.detail}`));
    }
  }
}

const created = await write('POST', sessions, { client_data: { name: 'Ada' } });
assert.equal(created.status, 201);
const { session_id: session } = await created.json();
const live = new Live(session);
await once(live.socket, 'open');

// Only if nobody else has changed the session.
const patch = { client_data: { name: 'Grace' } };
const conditions = { 'If-Match': created.headers.get('ETag') };
assert.equal((await write('PATCH', `${sessions}/${session}`, patch, conditions)).status, 200);
const outdated = await write('PATCH', `${sessions}/${session}`, patch, conditions);
assert.equal((await outdated.json()).code, 'precondition_failed');

// Every other message goes by the WebSocket.
const expected = Array.from({ length: messages }, (_, index) => index + 1);
for (const number of expected) {
  const message = `Hello ${number}`;
  const posted = number % 2
    ? await (await write('POST', `${sessions}/${session}/messages`, { message })).json()
    : await live.post(message);
  assert.equal(posted.number, number);
  if (number === 3) console.log(`Talking to ${created.headers.get('X-Served-By')}`);
}

const stored = [];
for (let cursor; cursor !== null;) {
  const page = new URL(`${sessions}/${session}/history`);
  if (cursor) page.searchParams.set('cursor', cursor);
  const { messages: some, next_cursor: next } = await (await request('GET', page)).json();
  stored.push(...some.map(({ message }) => message));
  cursor = next;
}
assert.deepEqual(stored, expected.map((number) => `Hello ${number}`));

for (const until = Date.now() + 60_000; live.received.length < messages && Date.now() < until;) await sleep(50);
assert.equal((await request('DELETE', `${sessions}/${session}`)).status, 204);
await live.ended;
assert.deepEqual(live.received, expected);
console.log(`${messages} messages, each stored and received once; streams: ${live.connections}`);
