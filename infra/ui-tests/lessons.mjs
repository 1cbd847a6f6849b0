// Lessons from the board, on a system of `local-stack up --driver`: predict, measure, reveal, and stop half-way.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { SCHEMES, SIZES, assertAccessible, assertFits, screenshot, visit } from './browser.mjs';

const control = process.env.TANDEM_LESSONS;
const token = () => readFileSync(`${process.env.TANDEM_LESSONS_STATE}/control.token`, 'utf8').trim();

async function api(method, path, body) {
  const headers = { Authorization: `Bearer ${token()}`, 'Content-Type': 'application/json' };
  const response = await fetch(`${control}/control/v1/${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert(response.ok, `${path}: ${response.status} ${await response.clone().text()}`);
  return response.json();
}

const run = async () => (await api('GET', 'lessons')).run;
/** What a lesson may change. */
async function found() {
  const { pools } = await api('GET', 'pools');
  const { instances } = await api('GET', 'lab');
  const members = pools.map(({ name, strategy, instances: all }) => [name, strategy, all.map(({ name: one, state }) => `${one} ${state}`).sort()]);
  return JSON.stringify([members, instances.map(({ name, state }) => `${name} ${state}`).sort()]);
}

const state = (page, text) => page.locator('#lesson-state', { hasText: text }).waitFor();

/** Unlocks the controls, by keyboard alone. */
async function unlock(page) {
  await page.locator('#connection[data-phase="live"]').waitFor();
  await page.locator('#unlock').focus();
  await page.keyboard.press('Enter');
  await page.locator('#token').waitFor();
  await page.keyboard.type(token());
  await page.keyboard.press('Enter');
}

/** Delays the responses to changes, so that polls overtake them. */
const delay = (page) => page.route(/control\/v1\/lesson/, async (route) => {
  const response = await route.fetch();
  if (route.request().method() !== 'GET') await new Promise((resolve) => { setTimeout(resolve, 1_200); });
  await route.fulfill({ response });
});

/** Waits until the system is as it was. */
async function putBack(before) {
  const end = Date.now() + 30_000;
  let now = await found();
  while (now !== before && Date.now() < end) {
    // The health checks notice it in their interval.
    await new Promise((resolve) => { setTimeout(resolve, 100); });
    now = await found();
  }
  assert.equal(now, before, 'everything is put back');
}

/** The process of a lesson on this system. */
function processOf(lesson) {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    let line = '';
    try {
      line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    } catch {
      // It has ended meanwhile.
    }
    if (line.includes(`\0lesson\0run\0${lesson}\0`) && line.includes(process.env.TANDEM_LESSONS_STATE)) return Number(pid);
  }
  throw new Error(`the lesson ${lesson} has no process`);
}

/** Starts a lesson from the list, by keyboard alone. */
async function start(page, name, isShort = true) {
  await page.locator('#lab summary').focus();
  await page.keyboard.press('Enter');
  const short = page.getByLabel('short: fewer requests, wider tolerances');
  await short.focus();
  if (isShort) await page.keyboard.press('Space');
  assert.equal(await short.isChecked(), isShort);
  await page.getByRole('button', { name }).focus();
  await page.keyboard.press('Enter');
  await state(page, 'What do you predict?');
}

describe('the lessons of the board', () => {
  after(async () => {
    // Of a test that failed.
    for (let n = 0; n < 2; n += 1) await api('DELETE', 'lesson');
  });

  it('are listed with where they run, and start nothing without the token', () =>
    visit('/', { at: control }, async (page) => {
      await page.locator('#connection[data-phase="live"]').waitFor();
      await page.locator('#lab summary').click();
      const entries = page.locator('#lessons li');
      await entries.nth(10).waitFor();
      assert.equal(await entries.count(), 11);
      assert.match(await entries.nth(0).innerText(), /1\. Round robin is even\s+on this system, about \d+ s/);
      assert.match(await entries.nth(2).innerText(), /on a system of its own, since it needs sessions in memory/);
      assert.equal(await page.locator('#lessons button:visible').count(), 0);
      assert.equal(await page.locator('#lesson').isVisible(), false);
      await assertAccessible(page);
      await assertFits(page);
    }));

  it('ask, measure and reveal step by step, by keyboard alone', () =>
    visit('/', { at: control }, async (page) => {
      const before = await found();
      await delay(page);
      await unlock(page);
      await page.evaluate(() => {
        window.busiest = 0;
        const total = document.getElementById('total');
        new MutationObserver(() => { window.busiest = Math.max(window.busiest, Number.parseInt(total.textContent, 10) || 0); })
          .observe(total, { childList: true, characterData: true, subtree: true });
      });
      await start(page, 'Start lesson 1: Round robin is even');
      // Nothing of the result is on the page, and the guess has the focus.
      const text = () => page.locator('#lesson').innerText();
      assert.doesNotMatch(await text(), /Theory|predicted|stateless-1|holds/);
      assert.equal(await page.evaluate(() => document.activeElement.id), 'guess');
      await assertAccessible(page);
      await assertFits(page);
      await screenshot(page, 'lesson-predict');
      await page.keyboard.type('<b>50 %</b>');
      await page.keyboard.press('Enter');
      await state(page, 'Hidden: 2 numbers');
      assert.match(await text(), /Theory: 1\/N each/);
      assert.match(await text(), /The class said: <b>50 %<\/b>/);
      assert.equal(await page.locator('#lesson-numbers b').count(), 0, 'markup stays text');
      await page.waitForFunction(() => window.busiest > 0);
      // Before the first number is shown.
      await putBack(before);

      const numbers = page.locator('#lesson-numbers li:not(.guess)');
      assert.equal(await numbers.count(), 0);
      assert.equal(await page.evaluate(() => document.activeElement.id), 'lesson-next', 'the focus stays');
      for (let revealed = 1; revealed <= 2; revealed += 1) {
        await page.keyboard.press('Enter');
        await numbers.nth(revealed - 1).waitFor();
        assert.equal(await numbers.count(), revealed);
        assert.match(await numbers.nth(revealed - 1).innerText(), /stateless-\d ✓ holds\s+predicted\s+50\.0 ± 20\.0 %\s+measured\s+\d\d\.\d %\s+of\s+100/);
        assert.doesNotMatch(await text(), /The prediction holds/);
      }
      assert.equal(await numbers.locator('svg .predicted').count(), 2);
      await screenshot(page, 'lesson-reveal');
      await page.keyboard.press('Enter');
      await state(page, '✓ The prediction holds.');
      assert.match(await text(), /Measured on the running system, hybrid store/);
      await assertAccessible(page);

      // It is the same on every board, in every size; without the token it is to be read alone.
      for (const [size, viewport] of Object.entries(SIZES)) {
        for (const scheme of SCHEMES) {
          await visit('/', { at: control, scheme, viewport }, async (other) => {
            await state(other, '✓ The prediction holds.');
            assert.equal(await other.locator('#lesson-form').isVisible(), false);
            await assertFits(other);
            await assertAccessible(other);
            await screenshot(other, `lesson-${size}-${scheme}`, size === 'phone');
          });
        }
      }
      const height = await page.locator('#lesson-numbers dd').first().evaluate((dd) => Number.parseFloat(getComputedStyle(dd).fontSize));
      assert(height >= 20, `${height} px are too small for the last row`);

      assert.equal(await page.evaluate(() => document.activeElement.id), 'lesson-stop');
      await page.keyboard.press('Enter');
      await page.locator('#lesson').waitFor({ state: 'hidden' });
      assert.equal(await page.evaluate(() => document.activeElement.tagName), 'SUMMARY');
      assert.equal(await run(), undefined);
    }));

  it('skip nothing when two boards press at once, and say so', () =>
    visit('/', { at: control, expected: [/status of 409/] }, async (page) => {
      await unlock(page);
      await start(page, 'Start lesson 1: Round robin is even');
      // What this board shows is old at once.
      const old = await api('GET', 'lessons');
      let isOld = true;
      await page.route('**/control/v1/lessons', (route) => (isOld ? route.fulfill({ json: old }) : route.continue()));
      const { step } = old.run;
      await api('POST', 'lesson', { step, guess: '1/3' });
      await page.locator('#lesson-next').focus();
      await page.keyboard.press('Enter');
      await page.locator('#failure', { hasText: 'Another step is shown' }).waitFor();
      isOld = false;
      await state(page, 'Hidden: 2 numbers');
      assert.match(await page.locator('#lesson').innerText(), /The class said: 1\/3/);
      assert.equal(await page.locator('#lesson .of-class .measured').getAttribute('width'), String(100 / 3));
      for (let n = 0; n < 2; n += 1) {
        await page.getByRole('button', { name: 'Reveal a number' }).click();
        await page.locator('#lesson-numbers li:not(.guess)').nth(n).waitFor();
      }
      await screenshot(page, 'board-lesson');
      await page.getByRole('button', { name: 'Close' }).click();
      await page.locator('#lesson').waitFor({ state: 'hidden' });
    }));

  it('put everything back when they are stopped half-way', () =>
    visit('/', { at: control }, async (page) => {
      const before = await found();
      await unlock(page);
      await start(page, 'Start lesson 5: Scaling out moves 1/(N+1) of the keys', false);
      await page.keyboard.press('Enter');
      // The lesson adds an instance, and the board shows it. The lesson goes on when the page has seen that.
      const isAdded = async () => (await api('GET', 'pools')).pools.some(({ instances }) => instances.some(({ name }) => name === 'stateful-3'));
      while (!await isAdded()) await new Promise((resolve) => { setTimeout(resolve, 20); });
      const lesson = processOf('scaling');
      process.kill(lesson, 'SIGSTOP');
      await state(page, 'It measures on the running system');
      await page.locator('[data-id="stateful-3"]').waitFor();
      await screenshot(page, 'lesson-measures');
      await page.locator('#lesson-stop').focus();
      await page.keyboard.press('Enter');
      process.kill(lesson, 'SIGCONT');
      await state(page, 'Stopped. Everything is as before.');
      await page.locator('[data-id="stateful-3"]').waitFor({ state: 'detached' });
      await putBack(before);
      assert.doesNotMatch(await page.locator('#lesson').innerText(), /Theory/);
      await page.locator('#lesson-stop').focus();
      await page.keyboard.press('Enter');
      await page.locator('#lesson').waitFor({ state: 'hidden' });
    }));

  it('say what they need where there is no local stack, and are not there without a driver', () =>
    visit('/', { at: control }, async (page) => {
      const lessons = await api('GET', 'lessons');
      const unavailable = {
        ...lessons, unavailable: 'Lessons need a local stack.', lessons: lessons.lessons.map((one) => ({ ...one, place: 'unavailable' })),
      };
      let shown = unavailable;
      await page.route('**/control/v1/lessons', (route) => route.fulfill({ json: shown }));
      await page.reload();
      await unlock(page);
      await page.locator('#lab summary').click();
      await page.locator('#lessons-notice', { hasText: 'Lessons need a local stack.' }).waitFor();
      const button = page.getByRole('button', { name: 'Start lesson 1: Round robin is even' });
      await button.waitFor();
      assert.equal(await button.isDisabled(), true);
      assert.match(await page.locator('#lessons li').first().innerText(), /cannot run here/);
      await assertAccessible(page);
      shown = { driver: false, unavailable: 'No driver.', lessons: [] };
      await page.reload();
      await page.locator('#connection[data-phase="live"]').waitFor();
      await page.locator('[data-id="stateful-1"] .state', { hasText: 'healthy' }).waitFor();
      assert.equal(await page.locator('#lab').isVisible(), false);
    }));
});
