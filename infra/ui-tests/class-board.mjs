// The class on the board: its people, the way into the room, kick and reset.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { SCHEMES, SIZES, assertAccessible, assertFits, screenshot, state, visit } from './browser.mjs';

const control = process.env.TANDEM_CONTROL;
const SESSIONS = `${process.env.TANDEM_GATEWAY}/api/v1/stateful/sessions`;
const token = () => readFileSync(`${state}/control.token`, 'utf8').trim();
const HOSTILE = ['<img src=x onerror=alert(1)>', '\u202e\u202etxet', '\u05d0\u05d3\u05d4', 'long'.repeat(2_500)];

async function join(nickname) {
  const response = await fetch(SESSIONS, {
    method: 'POST', body: JSON.stringify({ client_data: { nickname } }),
    headers: { 'Content-Type': 'application/json', 'Idempotency-Key': randomUUID() },
  });
  assert.equal(response.status, 201);
  return (await response.json()).session_id;
}

const reads = async (id) => (await fetch(`${SESSIONS}/${id}`)).status;
const person = (page, nickname) => page.locator('.person', { has: page.locator('bdi', { hasText: nickname }) });

/** Opens the board with its controls. */
const board = (options, use) => visit('/', { at: control, ...options }, async (page, context) => {
  await page.locator('#connection[data-phase="live"]').waitFor();
  assert(await page.locator('#class').isHidden(), 'the code of the room needs the token');
  await page.click('#unlock');
  await page.fill('#token', token());
  await page.press('#token', 'Enter');
  await page.locator('#class').waitFor();
  return use(page, context);
});

/** The people that the gateway lists. */
async function people() {
  const response = await fetch(`${control}/control/v1/class`, { headers: { Authorization: `Bearer ${token()}` } });
  assert.equal(response.status, 200);
  return (await response.json()).people;
}

/** Ends all sessions. The page may not have shown them yet, so its picture alone does not tell when they are gone. */
async function reset(page) {
  await page.click('#class-reset');
  const ended = page.waitForResponse((response) => response.request().method() === 'DELETE');
  await page.locator('#class-reset', { hasText: 'Really end all sessions?' }).click();
  assert((await ended).ok());
  assert.deepEqual(await people(), []);
  await page.waitForFunction(() => document.querySelector('.person') === null);
}

describe('the class on the board', () => {
  it('shows each person at home by nickname, and no session id', () =>
    board({}, async (page) => {
      await reset(page);
      const names = ['Ada', 'Bob', 'Eve', 'Tim', 'Zoë'];
      const ids = await Promise.all(names.map(join));
      for (const [n, name] of names.entries()) {
        await person(page, name).waitFor();
        const key = ids[n].slice(0, 8);
        const { ranking } = await (await fetch(`${control}/control/v1/pools/stateful/explain?key=${key}`)).json();
        assert.equal(await person(page, name).locator('xpath=ancestor::li[@data-id]').getAttribute('data-id'), ranking[0].name);
      }
      const html = await page.content();
      for (const id of ids) assert(!html.includes(id), 'a session id is a secret of its page');
      // The key leads to the inspector.
      await person(page, 'Ada').locator('.name').click();
      await page.locator('.ranking').waitFor();
      assert.equal(await page.locator('#key').inputValue(), ids[0].slice(0, 8));
    }));

  it('ends one session by keyboard, and all of them', () =>
    board({}, async (page) => {
      const [mallory, ada] = [await join('Mallory'), await join('Grace')];
      const kick = person(page, 'Mallory').locator('.kick');
      await kick.focus();
      await page.keyboard.press('Enter');
      await page.locator('.kick', { hasText: 'End?' }).waitFor();
      assert.equal(await reads(mallory), 200, 'one press ends nothing');
      await page.keyboard.press('Enter');
      await person(page, 'Mallory').waitFor({ state: 'detached' });
      assert.deepEqual([await reads(mallory), await reads(ada)], [404, 200]);
      await reset(page);
      assert.equal(await reads(ada), 404);
    }));

  for (const nickname of HOSTILE) {
    it(`shows ${JSON.stringify(nickname.slice(0, 40))} as text`, () =>
      board({}, async (page) => {
        await join(nickname);
        const shown = page.locator('.person bdi').first();
        await shown.waitFor();
        const text = await shown.textContent();
        const kept = nickname.replaceAll('\u202e', '').slice(0, 24);
        assert.equal(text, kept);
        assert.equal(await shown.locator('*').count(), 0);
        await assertFits(page);
        await reset(page);
      }));
  }

  for (const scheme of SCHEMES) {
    it(`opens the way into the room, in ${scheme}`, () =>
      board({ scheme, viewport: SIZES.projector }, async (page) => {
        const code = readFileSync(`${state}/class.code`, 'utf8').trim();
        for (let n = 1; n <= 30; n += 1) await join(`Person ${n}`);
        await page.locator('.person').nth(29).waitFor();
        assert.equal(await page.locator('#class-code').innerText(), code);
        assert.equal(await page.locator('#class-address').innerText(), process.env.TANDEM_CLASS);
        assert.match(await page.locator('#class-qr path').getAttribute('d'), /^(M\d+ \d+h1v1h-1z)+$/);
        await assertAccessible(page);
        await screenshot(page, `board-class-${scheme}`);
        await page.click('#class-enlarge');
        await page.locator('#class-large').waitFor();
        await assertAccessible(page);
        await screenshot(page, `board-class-large-${scheme}`);
        await page.keyboard.press('Escape');
        await page.setViewportSize(SIZES.phone);
        await assertFits(page);
        await screenshot(page, `board-class-phone-${scheme}`, true);
        await reset(page);
      }));
  }
});
