// The board, at the gateway's control plane.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
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
  const headers = { Authorization: `Bearer ${token()}`, 'Content-Type': 'application/json' };
  const response = await fetch(`${control}/control/v1/${path}`, { method, headers, body: JSON.stringify(body) });
  assert(response.ok, `${path}: ${response.status} ${await response.text()}`);
}

const token = () => readFileSync(`${state}/control.token`, 'utf8').trim();
const explain = async (key, query = '') => json(await fetch(`${control}/control/v1/pools/stateful/explain?key=${key}${query}`));
const stateful = async () => (await pools()).find(({ name }) => name === 'stateful');
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
async function unlock(page, given = token()) {
  await page.click('#unlock');
  await page.fill('#token', given);
  await page.press('#token', 'Enter');
}

/** Waits until the gateway's state is as wanted. */
async function until(what, look) {
  const end = Date.now() + 60_000;
  while (!(await look())) {
    assert(Date.now() < end, what);
    await new Promise((resolve) => { setTimeout(resolve, 100); });
  }
}

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
    const members = membersOf((await stateful()).instances);
    assert.equal(members.length, 3);
    for (const key of sampleKeys(1_000)) {
      const explained = await explain(key);
      const own = ranking(members, key).map(({ name, score }) => `${name} ${score.toString(16).padStart(16, '0')}`);
      assert.deepEqual(own, explained.ranking.map(({ name, score }) => `${name} ${score}`), key);
    }
  });

  it('explains a key by keyboard alone, as the gateway does', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      for (const key of ['0badcafe', '00000000', 'ffffffff']) {
        await page.focus('#key');
        await page.keyboard.press('Control+A');
        await page.keyboard.type(key);
        await page.keyboard.press('Enter');
        const explained = await explain(key, '&without=stateful-1');
        await page.locator('#explained .reason', { hasText: explained.reason }).waitFor();
        const shown = await page.locator('.ranking li').evaluateAll((rows) => rows.map((row) =>
          `${row.querySelector('b').textContent}: ${row.querySelector('.score').textContent}`));
        assert.deepEqual(shown, explained.ranking.map(({ rank, name, score }) => `${rank}. ${name}: score ${score}`));
        const row = page.locator('.ranking li[data-name="stateful-1"]');
        await row.locator('button').focus();
        await page.keyboard.press('Enter');
        const { moved_percent: moved, home } = explained.change;
        await row.locator('.effect', { hasText: `${Math.round(moved)} % of all keys would move, all from stateful-1. ${key} would` }).waitFor();
        assert((await row.locator('.effect').innerText()).includes(home));
      }
      await page.fill('#key', 'no key');
      await page.press('#key', 'Enter');
      await page.locator('#explained .failure', { hasText: '8 hex digits' }).waitFor();
      await page.fill('#key', '0badcafe');
      await page.press('#key', 'Enter');
      await page.getByRole('button', { name: 'If stateful-4 came' }).click();
      await page.locator('#explained > .effect', { hasText: 'all to stateful-4' }).waitFor();
      await assertAccessible(page);
      await screenshot(page, 'board-inspector');
    }));

  it('explains the session that is clicked', () =>
    visit('/', { at: control, reducedMotion: 'reduce' }, async (page) => {
      await live(page);
      await page.waitForFunction(() => Number.parseInt(document.getElementById('client-count').textContent, 10) >= 40);
      // The first place of a card, which is taken.
      await page.locator('[data-id="stateful-1"] .seats').click({ position: { x: 6, y: 6 } });
      await page.locator('.ranking li').first().waitFor();
      assert.match(await page.inputValue('#key'), /^[0-9a-f]{8}$/);
      assert.equal(await page.locator('.ranking li').first().getAttribute('data-name'), 'stateful-1', 'it stands at its home');
    }));

  it('changes nothing without the token, and nothing with a wrong one', () =>
    visit('/', { at: control, expected: [/status of 401/] }, async (page) => {
      await live(page);
      assert.equal(await page.locator('.acts button:visible, .changes select:visible').count(), 0);
      await unlock(page, 'not-the-token');
      await page.selectOption('#choose-stateful', 'round_robin');
      await page.locator('#failure', { hasText: "The token is not the gateway's CONTROL_TOKEN" }).waitFor();
      await page.locator('#choose-stateful').waitFor({ state: 'hidden' });
      assert.equal((await stateful()).strategy, 'sticky');
      assert.equal(await page.evaluate(() => sessionStorage.length + localStorage.length), 0, 'it is forgotten');
    }));

  it('switches the strategy, and the picture follows', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      await unlock(page);
      await assertAccessible(page);
      await page.selectOption('#choose-stateful', 'round_robin');
      await until('the gateway is switched', async () => (await stateful()).strategy === 'round_robin');
      await page.locator('#strategy-stateful', { hasText: 'round robin' }).waitFor();
      const served = await Promise.all(Array.from({ length: 12 }, () => fetch(`${SESSIONS}/${sessions[0]}`)));
      assert.equal(new Set(served.map(({ headers }) => headers.get('x-served-by'))).size, 3, 'requests go everywhere');
      await screenshot(page, 'board-controls');
      await page.selectOption('#choose-stateful', 'sticky');
      await until('the gateway is switched back', async () => (await stateful()).strategy === 'sticky');
      const home = await Promise.all(Array.from({ length: 12 }, () => fetch(`${SESSIONS}/${sessions[0]}`)));
      assert.equal(new Set(home.map(({ headers }) => headers.get('x-served-by'))).size, 1, 'and home again');
    }));

  it('drains, undrains, removes and adds an instance', () =>
    visit('/', { at: control, expected: [/status of 4\d\d/] }, async (page) => {
      await live(page);
      await unlock(page);
      const one = card(page, 'stateful-3');
      const { addr } = (await stateful()).instances.find(({ name }) => name === 'stateful-3');
      const now = async () => (await stateful()).instances.find(({ name }) => name === 'stateful-3')?.state;
      await one.getByRole('button', { name: 'Drain stateful-3' }).click();
      await until('it drains', async () => ['draining', 'drained'].includes(await now()));
      await one.getByRole('button', { name: 'Undrain stateful-3' }).click();
      await until('it serves again', async () => await now() === 'healthy');
      // Once the page shows that: it draws the buttons again, and a press on the former one does not count.
      await one.getByRole('button', { name: 'Drain stateful-3', exact: true }).waitFor();
      const remove = one.getByRole('button', { name: 'Remove stateful-3' });
      await remove.click();
      assert.equal(await now(), 'healthy', 'one press is not enough');
      await remove.click();
      await until('it is gone', async () => await now() === undefined);
      await one.waitFor({ state: 'detached' });
      await page.locator('#add-stateful input').fill('127.0.0.1:nothing');
      await page.locator('#add-stateful input').press('Enter');
      await page.locator('#failure', { hasText: 'addr' }).waitFor();
      await page.locator('#add-stateful input').fill(addr);
      await page.locator('#add-stateful input').press('Enter');
      await one.locator('.state', { hasText: 'healthy' }).waitFor();
      assert.equal(await page.locator('#failure').innerText(), '');
    }));

  it('kills, starts and scales where an agent is there, and only then', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      await unlock(page);
      await card(page, 'stateful-3').getByRole('button', { name: 'Drain stateful-3' }).waitFor();
      assert.equal(await page.getByRole('button', { name: /Kill|more in the/ }).count(), 0, 'this stack has no agent');

      // What the gateway passes on is tested in infra/local/tests/stack.
      const processes = {
        agent: true, class: false, most_instances: 4, instances: [1, 2, 3].map((n) => ({ name: `stateful-${n}`, pool: 'stateful', state: 'running' })),
      };
      const asked = [];
      await page.route('**/control/v1/lab**', async (route) => {
        const request = route.request();
        const path = new URL(request.url()).pathname;
        if (request.method() !== 'GET') {
          assert.equal(request.headers().authorization, `Bearer ${token()}`);
          asked.push(`${request.method()} ${path.replace('/control/v1/lab', '')} ${request.postData() ?? ''}`.trim());
          if (path.endsWith('/kill')) processes.instances[1].state = 'killed';
          if (path.endsWith('/start')) processes.instances[1].state = 'running';
          if (path.endsWith('/scale')) processes.instances.push({ name: 'stateful-4', pool: 'stateful', state: 'running' });
        }
        await route.fulfill({ json: processes });
      });
      await page.reload();
      await live(page);
      await card(page, 'stateful-2').getByRole('button', { name: 'Kill stateful-2' }).click();
      await card(page, 'stateful-2').getByRole('button', { name: 'Start stateful-2' }).click();
      await card(page, 'stateful-2').getByRole('button', { name: 'Stop stateful-2' }).waitFor();
      const more = page.getByRole('button', { name: 'One instance more in the stateful pool' });
      await more.click();
      await page.locator('#scale-stateful output', { hasText: '4' }).waitFor();
      assert.equal(await more.isDisabled(), true, 'at the most');
      assert.deepEqual(asked, [
        'POST /instances/stateful-2/kill', 'POST /instances/stateful-2/start', 'PUT /pools/stateful/scale {"instances":4}',
      ]);
    }));

  it('starts, changes and stops the traffic of the driver, by keyboard alone', () =>
    visit('/', { at: control }, async (page) => {
      await live(page);
      const traffic = async () => json(await fetch(`${control}/control/v1/traffic`));
      assert.equal(await page.locator('#traffic').isVisible(), false, 'nothing without the token');
      await unlock(page);
      await page.locator('#traffic-state', { hasText: 'stopped' }).waitFor();
      assert.equal(await page.locator('#traffic-stop').isDisabled(), true);
      const field = (label) => page.getByLabel(label, { exact: true });
      await field('Clients').focus();
      await page.keyboard.press('Home');
      for (let n = 1; n < 5; n += 1) await page.keyboard.press('ArrowRight');
      await page.keyboard.press('Tab');
      await page.keyboard.press('Control+A');
      await page.keyboard.type('60');
      assert.equal((await traffic()).running, false, 'nothing starts by itself');
      await page.keyboard.press('Enter');
      await page.locator('#traffic-state', { hasText: '5 clients, with cookies' }).waitFor();
      const started = await traffic();
      assert.equal(started.running, true);
      assert.deepEqual([started.settings.clients, started.settings.think_time_ms], [5, 60]);
      for (const pool of ['stateless', 'stateful']) {
        await page.locator('#traffic-figures li', { hasText: new RegExp(`^${pool}: .* req/s, .* in all, none failed`) }).waitFor();
      }
      // While it runs, a change applies at once.
      await field('Cookie jar').focus();
      await page.keyboard.press('Space');
      await page.locator('#traffic-state', { hasText: '5 clients, without cookies' }).waitFor();
      assert.equal((await traffic()).settings.cookie_jar, false);
      await field('Clients per address').fill('5');
      await page.keyboard.press('Tab');
      await page.locator('#traffic-state', { hasText: '5 behind each address' }).waitFor();
      await assertAccessible(page);
      await assertFits(page);
      await screenshot(page, 'board-traffic');
      await field('Think time, ms').fill('1');
      await page.keyboard.press('Enter');
      assert.equal((await traffic()).settings.think_time_ms, 60, 'out of bounds');
      await field('Think time, ms').fill('60');
      await page.locator('#traffic-stop').focus();
      await page.keyboard.press('Enter');
      await page.locator('#traffic-state', { hasText: 'stopped' }).waitFor();
      const stopped = await traffic();
      assert.deepEqual([stopped.running, stopped.sessions], [false, 0]);
      await page.click('#unlock');
      await page.locator('#traffic').waitFor({ state: 'hidden' });
    }));

  it('is a client: with a cookie jar, without, and as another person', () =>
    visit('/', { at: control, expected: [/status of 401/] }, async (page) => {
      await live(page);
      assert.equal(await page.locator('#conversation').isVisible(), false, 'nothing without the token');
      await unlock(page);
      const newest = page.locator('#exchanges li').first();
      const header = async (name) => newest.locator('div', { has: page.locator('dt', { hasText: new RegExp(`^${name}$`) }) }).locator('dd').innerText();
      const say = async (text) => {
        const before = await page.locator('#exchanges li').count();
        await page.getByLabel('Message').fill(text);
        await page.keyboard.press('Enter');
        await page.waitForFunction((n) => document.querySelectorAll('#exchanges li').length > n, before);
      };
      await say('Hello');
      assert.equal(await page.locator('#exchanges li').count(), 2, 'a session was created first');
      const home = await header('x-served-by');
      assert.match(await header('x-affinity'), /^home; key=[0-9a-f]{8}/);
      assert.match(await header('cookie \\(sent\\)'), /^affinity=/);
      await say('Do you remember me?');
      assert.equal(await header('x-served-by'), home);
      // Without the jar, each write is a stranger's.
      await page.getByLabel('with a cookie jar').uncheck();
      await say('And now?');
      assert.match(await header('x-affinity'), /^new; /);
      assert.equal(await newest.locator('dt', { hasText: 'cookie (sent)' }).count(), 0);
      await page.getByRole('button', { name: 'Read the session' }).click();
      await page.locator('#exchanges li', { hasText: 'GET /api/v1/stateful/sessions/<session ' }).first().waitFor();
      assert.match(await header('x-affinity'), /^home; /, 'its path has the key');
      await page.getByLabel('with a cookie jar').check();
      const address = await header('x-forwarded-for \\(sent\\)');
      await page.getByLabel('Person').selectOption('B');
      await say('<b>Hello</b>');
      assert.match(await newest.locator('.title').innerText(), /^B: POST/);
      assert.notEqual(await header('x-forwarded-for \\(sent\\)'), address);
      assert.equal(await page.locator('#exchanges b').count(), 0, 'markup stays text');
      await newest.getByRole('button', { name: /Where does [0-9a-f]{8} go/ }).click();
      await page.locator('.ranking li').first().waitFor();
      const text = await page.locator('#exchanges').innerText();
      assert.doesNotMatch(text, /[0-9a-f]{8}-[0-9a-f]{32}/, 'the id of a session is no news');
      await assertAccessible(page);
      await assertFits(page);
      await screenshot(page, 'board-client');
      for (const person of ['A', 'B']) {
        await page.getByLabel('Person').selectOption(person);
        await page.getByRole('button', { name: 'End the session' }).click();
        await page.locator('#exchanges li', { hasText: `${person}: DELETE` }).first().waitFor();
        assert.match(await newest.locator('.title').innerText(), /: 204 /);
      }
      await page.getByRole('button', { name: 'Read the session' }).click();
      await page.locator('#failure', { hasText: 'B has no session' }).waitFor();
      await page.evaluate(() => sessionStorage.setItem('control-token', 'wrong-token-of-nobody'));
      await page.getByRole('button', { name: 'Stateless request' }).click();
      await page.locator('#failure', { hasText: 'CONTROL_TOKEN' }).waitFor();
    }));

  for (const scheme of SCHEMES) {
    it(`shows the controls on a phone, too: ${scheme}`, () =>
      visit('/', { at: control, scheme, viewport: SIZES.phone }, async (page) => {
        await live(page);
        await unlock(page);
        await page.locator('#traffic').scrollIntoViewIfNeeded();
        await page.getByLabel('Clients', { exact: true }).waitFor();
        await assertFits(page);
        await assertAccessible(page);
        await screenshot(page, `board-traffic-phone-${scheme}`);
      }));
  }

  it('says nothing of traffic where there is no driver, and why where it fails', () =>
    visit('/', { at: control, expected: [/status of 502/] }, async (page) => {
      await live(page);
      const none = { driver: false, running: false, sessions: 0, pools: [], settings: (await json(await fetch(`${control}/control/v1/traffic`))).settings };
      await page.route('**/control/v1/traffic', (route) => route.fulfill({ json: none }));
      await unlock(page);
      await card(page, 'stateful-3').getByRole('button', { name: 'Drain stateful-3' }).waitFor();
      assert.equal(await page.locator('#traffic').isVisible(), false);
      await page.unroute('**/control/v1/traffic');
      await page.reload();
      await page.locator('#traffic-state', { hasText: 'stopped' }).waitFor();
      const problem = { type: '/docs/errors/upstream_failed', status: 502, code: 'upstream_failed', detail: 'The traffic driver did not respond.' };
      await page.route('**/control/v1/traffic', (route) => route.fulfill({ status: 502, contentType: 'application/problem+json', json: problem }));
      await page.getByRole('button', { name: 'Start', exact: true }).click();
      await page.locator('#failure', { hasText: 'The traffic driver did not respond.' }).waitFor();
    }));

  it('reconnects after an upgrade of the gateway, and keeps what it knew', () =>
    visit('/', { at: control, expected: [/ERR_/] }, async (page) => {
      await live(page);
      await page.waitForFunction(() => Number.parseInt(document.getElementById('total').textContent, 10) > 0);
      await page.evaluate(() => {
        window.phases = [];
        new MutationObserver(() => window.phases.push(document.getElementById('connection').dataset.phase))
          .observe(document.getElementById('connection'), { attributes: true });
      });
      // The test that runs this one upgrades the gateway then.
      const wish = `${state}/upgrade`;
      writeFileSync(wish, '');
      await until('the gateway is upgraded', () => !existsSync(wish));
      await page.waitForFunction(() => window.phases.includes('reconnecting') && window.phases.at(-1) === 'live');
      await page.locator('#log li', { hasText: 'Watching' }).waitFor();
      const before = await page.locator('#chart-requests .line.stateful').getAttribute('d');
      await page.waitForFunction((old) => document.querySelector('#chart-requests .line.stateful').getAttribute('d') !== old, before);
    }));

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
