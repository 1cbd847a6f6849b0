// The page for the phones of a class, at the classroom's listener.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, it } from 'node:test';
import { SCHEMES, SIZES, assertAccessible, assertFits, screenshot, state, visit } from './browser.mjs';

const PAGE = new URL(process.env.TANDEM_CLASS);
const control = process.env.TANDEM_CONTROL;
const code = readFileSync(`${state}/class.code`, 'utf8').trim();
const HOSTILE = ['<img src=x onerror=alert(1)>', '\u202e\u202etxet', '🚲 李四', 'long'.repeat(2_500)];

/** Opens the page as somebody who scanned the code. */
const enter = (options, use) => visit(`${PAGE.pathname}#${code}`, { phone: true, at: PAGE.origin, ...options }, use);

async function join(page, nickname) {
  await page.fill('#nickname', nickname);
  await page.press('#nickname', 'Enter');
  await page.locator('#room').waitFor();
}

/** Says something, and waits until that many messages are remembered. */
async function talk(page, count) {
  await page.click('#say');
  await page.locator('#count', { hasText: new RegExp(`^${count}$`) }).waitFor();
}

async function strategy(name) {
  const token = readFileSync(`${state}/control.token`, 'utf8').trim();
  const response = await fetch(`${control}/control/v1/pools/stateful/strategy`, {
    method: 'PUT',
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ strategy: name }),
  });
  assert(response.ok, `${response.status} ${await response.text()}`);
}

describe('the page of the class', () => {
  after(() => strategy('sticky'));

  for (const scheme of SCHEMES) {
    it(`shows who serves a person and why, in ${scheme}`, () =>
      enter({ scheme }, async (page) => {
        await assertAccessible(page);
        await screenshot(page, `class-join-${scheme}`);
        await join(page, 'Ada');
        assert.match(await page.locator('#why').innerText(), /^new/);
        await talk(page, 1);
        assert.match(await page.locator('#instance').innerText(), /^stateful-\d$/);
        assert.match(await page.locator('#why').innerText(), /^home/);
        // The page looks at its session by itself.
        await page.locator('#source', { hasText: 'memory' }).waitFor();
        await talk(page, 2);
        const served = new Set(await page.locator('#past li').allInnerTexts());
        assert.equal(served.size, 1, 'a session stays at home');
        await assertAccessible(page);
        await assertFits(page);
        await screenshot(page, `class-room-${scheme}`, true);
      }));
  }

  it('goes on after a reload, by keyboard alone', () =>
    enter({}, async (page) => {
      await join(page, 'Bob');
      await page.locator('#say:focus').waitFor();
      await page.keyboard.press('Enter');
      await page.locator('#count', { hasText: /^1$/ }).waitFor();
      await page.reload();
      await page.locator('#count', { hasText: /^1$/ }).waitFor();
      assert.equal(await page.locator('#name').innerText(), 'Bob');
    }));

  it('shows that other instances serve it under round robin', () =>
    enter({}, async (page) => {
      await join(page, 'Eve');
      await strategy('round_robin');
      for (let count = 1; count <= 4; count += 1) await talk(page, count);
      assert.match(await page.locator('#why').innerText(), /^round robin/);
      await strategy('sticky');
    }));

  it('says what is lost when its session is gone, by itself', () =>
    enter({ expected: [/404/] }, async (page, context) => {
      await join(page, 'Tim');
      await talk(page, 1);
      const { id } = JSON.parse(await page.evaluate(() => sessionStorage.getItem('tandem-class')));
      const gone = await context.request.delete(`${PAGE.origin}/api/v1/stateful/sessions/${id}`, { headers: { 'X-Class-Code': code } });
      assert.equal(gone.status(), 204);
      await page.locator('#lost').waitFor();
      assert.match(await page.locator('#lost').innerText(), /stateful-\d does not know you[^]*Your message is/);
      assert.equal(await page.locator('#count').innerText(), '0');
      await page.click('#say');
      await page.locator('#past li').nth(1).waitFor();
      await assertAccessible(page);
      await assertFits(page);
      await screenshot(page, 'class-lost');
      await page.click('#again');
      await page.locator('#lost').waitFor({ state: 'hidden' });
      await talk(page, 1);
    }));

  it('fits the smallest phone and the largest screen', async () => {
    for (const [size, viewport] of Object.entries(SIZES)) {
      await enter({ viewport }, async (page) => {
        await join(page, 'Grace');
        for (let count = 1; count <= 4; count += 1) await talk(page, count);
        await assertFits(page);
        const end = await page.locator('#say').evaluate((button) => button.getBoundingClientRect().bottom);
        assert(end <= viewport.height, `the button ends at ${end} of ${viewport.height}`);
        await screenshot(page, `class-${size}`);
      });
    }
  });

  it('refuses another code, and lets the person try again', () =>
    enter({ expected: [/403/] }, async (page) => {
      await page.fill('#code', 'zzzzzz');
      await page.fill('#nickname', 'Mallory');
      await page.press('#nickname', 'Enter');
      await page.locator('#status', { hasText: 'ask for the present one' }).waitFor();
      await page.fill('#code', code.toLowerCase());
      await page.press('#code', 'Enter');
      await page.locator('#room').waitFor();
    }));

  for (const nickname of HOSTILE) {
    it(`shows ${JSON.stringify(nickname.slice(0, 40))} as text`, () =>
      enter({}, async (page) => {
        // A client need not respect it.
        await page.locator('#nickname').evaluate((field) => field.removeAttribute('maxlength'));
        await join(page, nickname);
        assert.equal(await page.locator('#name').textContent(), nickname);
        assert.equal(await page.locator('#name *').count(), 0);
        await assertFits(page);
      }));
  }
});
