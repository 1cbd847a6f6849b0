// A page of another origin: with CORS off, which is the default, and on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { after, before, describe, it } from 'node:test';
import { foreign, origin, state } from './browser.mjs';

const control = process.env.TANDEM_CONTROL;

/** What a page's script gets from the API: the response, or the name of its exception. */
function createSession(page) {
  return page.evaluate(async (sessions) => {
    try {
      const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': crypto.randomUUID() };
      const response = await fetch(sessions, { method: 'POST', headers, body: '{}' });
      const seen = ['X-Served-By', 'X-Affinity-Key', 'ETag', 'Location'].map((name) => response.headers.get(name));
      return { status: response.status, seen, session: (await response.json()).session_id };
    } catch (error) {
      return error.name;
    }
  }, `${origin}/api/v1/stateful/sessions`);
}

async function allow(pageOrigin) {
  const file = `${state}/gateway/gateway.toml`;
  writeFileSync(file, `${readFileSync(file, 'utf8')}\n[cors]\nallowed_origins = ["${pageOrigin}"]\n`);
  const token = readFileSync(`${state}/control.token`, 'utf8').trim();
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${control}/control/v1/reload`, { method: 'POST', headers });
  assert.equal(response.status, 200, await response.text());
}

describe('a page of another origin', () => {
  let server;
  let there;

  before(async () => {
    server = createServer((_, response) => {
      response.setHeader('Content-Type', 'text/html');
      response.end('<!doctype html><title>Another origin</title>');
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    there = `http://127.0.0.1:${server.address().port}`;
  });
  after(() => server.close());

  it('gets nothing by default', () =>
    foreign(there, async (page) => assert.equal(await createSession(page), 'TypeError')));

  it('uses the API once its origin is listed, headers and events included', async () => {
    await allow(there);
    await foreign(there, async (page) => {
      const created = await createSession(page);
      assert.equal(created.status, 201, JSON.stringify(created));
      assert(created.seen.every((value) => value), JSON.stringify(created));
      const first = await page.evaluate((url) => new Promise((resolve, reject) => {
        const events = new EventSource(url);
        events.addEventListener('session', (event) => resolve(JSON.parse(event.data).session_id));
        events.addEventListener('error', () => reject(new Error('no stream')));
      }), `${origin}/api/v1/stateful/sessions/${created.session}/events`);
      assert.equal(first, created.session);
    });
  });

  it('still gets nothing when another one is listed', async () => {
    const other = there.replace('127.0.0.1', 'localhost');
    await foreign(other, async (page) => assert.equal(await createSession(page), 'TypeError'));
  });
});
