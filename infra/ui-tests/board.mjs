// The board, at the gateway's control plane.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { membersOf, ranking, sampleKeys } from '../../gateway/board/rendezvous.mjs';
import { SCHEMES, SIZES, assertAccessible, assertFits, screenshot, state, visit } from './browser.mjs';

const control = process.env.TANDEM_CONTROL;
const gateway = process.env.TANDEM_GATEWAY;
const SESSIONS = `${gateway}/api/v1/stateful/sessions`;

const json = async (response) => {
  assert(response.ok, `${response.url}: ${response.status} ${await response.clone().text()}`);
  return response.json();
};

/** Changes something at the gateway, not by the page. */
async function change(method, path, body) {
  const token = readFileSync(`${state}/control.token`, 'utf8').trim();
  const headers = { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' };
  const response = await fetch(`${control}/control/v1/${path}`, { method, headers, body: JSON.stringify(body) });
  assert(response.ok, `${path}: ${response.status} ${await response.text()}`);
}

const strategy = (name) => change('PUT', 'pools/stateful/strategy', { strategy: name });
const pools = async () => (await json(await fetch(`${control}/control/v1/pools`))).pools;

async function conversations(count) {
  const headers = { 'Content-Type': 'application/json' };
  return Promise.all(Array.from({ length: count }, async () => {
    const created = await json(await fetch(SESSIONS, {
      method: 'POST', body: '{}', headers: { ...headers, 'Idempotency-Key': randomUUID() },
    }));
    return created.session_id;
  }));
}

/** Requests of some clients, until it is stopped: reads of sessions, and stateless ones. */
function traffic(sessions) {
  let stopped = false;
  const run = (async () => {
    for (let i = 0; !stopped; i += 1) {
      const session = sessions[i % sessions.length];
      // A killed instance may break a connection; the board shows that.
      const quietly = (url) => fetch(url).then((response) => response.arrayBuffer()).catch(() => {});
      await Promise.all([quietly(`${SESSIONS}/${session}`), quietly(`${gateway}/api/v1/stateless/info`)]);
      await new Promise((resolve) => { setTimeout(resolve, 15); });
    }
  })();
  return { stop: async () => { stopped = true; await run; } };
}

const card = (page, name) => page.locator(`[data-id="${name}"]`);
const live = (page) => page.locator('#connection[data-phase="live"]').waitFor();

describe('the board', () => {
  let sessions;
  let load;

  before(async () => {
    sessions = await conversations(40);
    load = traffic(sessions);
  });
  after(() => load.stop());

  for (const [size, viewport] of Object.entries(SIZES)) {
    for (const scheme of SCHEMES) {
      it(`shows instances, requests and charts: ${size}, ${scheme}`, () =>
        visit('/', { at: control, scheme, viewport }, async (page) => {
          await live(page);
          for (const name of ['stateless-1', 'stateless-2', 'stateful-1', 'stateful-2', 'stateful-3']) {
            await card(page, name).locator('.state', { hasText: 'healthy' }).waitFor();
          }
          // Of the totals of a second, and of what the instances report with their health.
          await page.waitForFunction(() => [...document.querySelectorAll('#instances-stateful dd.req-s')].some((dd) => Number(dd.textContent) > 0));
          await page.waitForFunction(() => [...document.querySelectorAll('#instances-stateful dd.hot')].every((dd) => Number(dd.textContent) > 0));
          await page.waitForFunction(() => document.querySelector('#chart-memory .value b').textContent.endsWith('%'));
          await page.waitForFunction(() => document.querySelector('#chart-requests .line.stateful').getAttribute('d').includes('L'));
          await assertFits(page);
          await assertAccessible(page);
          await screenshot(page, `board-${size}-${scheme}`, size === 'phone');
        }));
    }
  }

  it('places sessions as the gateway would: the ranking of 1,000 keys equals that of explain', async () => {
    const members = membersOf((await pools()).find(({ name }) => name === 'stateful').instances);
    assert.equal(members.length, 3);
    for (const key of sampleKeys(1_000)) {
      const explained = await json(await fetch(`${control}/control/v1/pools/stateful/explain?key=${key}`));
      const own = ranking(members, key).map(({ name, score }) => `${name} ${score.toString(16).padStart(16, '0')}`);
      assert.deepEqual(own, explained.ranking.map(({ name, score }) => `${name} ${score}`), key);
    }
  });

  it('shows a switch of the strategy, and says so', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      await page.locator('#strategy-stateful', { hasText: 'sticky' }).waitFor();
      await strategy('round_robin');
      await page.locator('#strategy-stateful', { hasText: 'round robin' }).waitFor();
      await page.locator('#log li', { hasText: 'The stateful pool is routed by round robin now' }).first().waitFor();
      await strategy('sticky');
      await page.locator('#strategy-stateful', { hasText: 'sticky' }).waitFor();
    }));

  it('says in words what a drain moved', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      await change('POST', 'pools/stateful/instances/stateful-3/drain', { deadline_s: 0 });
      await page.locator('#log li', { hasText: /Stateful-3 left: 3\d % of the keys moved, all of them from it/ }).waitFor();
      await card(page, 'stateful-3').locator('.state', { hasText: 'drained' }).waitFor();
      await change('POST', 'pools/stateful/instances/stateful-3/undrain');
      await page.locator('#log li', { hasText: /Stateful-3 joined: 3\d % of the keys moved, all of them to it/ }).waitFor();
    }));

  it('keeps still where motion is reduced', () =>
    visit('/', { at: control, reducedMotion: 'reduce' }, async (page) => {
      await live(page);
      await card(page, 'stateful-1').locator('.state', { hasText: 'healthy' }).waitFor();
      await assertAccessible(page);
    }));

  // 64 places, of which a page without the token gets 48.
  it('says why it is rejected when too many watch', async () => {
    const others = new AbortController();
    const watch = () => fetch(`${control}/control/v1/events?types=rates`, { signal: others.signal });
    let taken;
    do taken = (await watch()).status; while (taken === 200);
    assert.equal(taken, 503);
    try {
      await visit('/', { at: control, expected: [/status of 503/] }, (page) =>
        page.locator('#connection[data-phase="refused"]', { hasText: 'limit of 48 event streams' }).waitFor());
    } finally {
      others.abort();
    }
  });

  // Last, since the instance stays away.
  it('shows the failover of a killed instance within two seconds of the event', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      await card(page, 'stateful-2').locator('.state', { hasText: 'healthy' }).waitFor();
      await page.evaluate(() => {
        window.seen = {};
        const note = () => {
          const dead = document.querySelector('[data-id="stateful-2"]')?.dataset.state === 'unhealthy';
          const failing = [...document.querySelectorAll('#log li')].some((li) => li.textContent.includes('fail over'));
          if (dead) window.seen.unhealthy ??= performance.now();
          if (failing) window.seen.failover ??= performance.now();
        };
        new MutationObserver(note).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
      });
      process.kill(Number(process.env.TANDEM_VICTIM), 'SIGKILL');
      await page.waitForFunction(() => window.seen.unhealthy && window.seen.failover);
      const { unhealthy, failover } = await page.evaluate(() => window.seen);
      assert(failover - unhealthy < 2_000, `unhealthy at ${unhealthy}, failover at ${failover}`);
      await assertAccessible(page);
      await screenshot(page, 'board-killed');
    }));
});
