// The start page: a conversation, live events, the comparison of both strategies.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SCHEMES, assertAccessible, assertFits, origin, screenshot, visit } from './browser.mjs';

const SESSIONS = `${origin}/api/v1/stateful/sessions`;

/** Sends a message and returns the explanation beside the reply. */
async function say(page, text, number) {
  await page.fill('#message', text);
  await page.press('#message', 'Enter');
  const item = page.locator(`#log li:nth-child(${number})`);
  await item.locator('.why', { hasText: 'served by' }).waitFor();
  assert.match(await item.locator('.said').innerText(), new RegExp(text));
  assert.match(await item.locator('.reply').innerText(), /\w+/);
  return item.locator('.why').innerText();
}

/** The id of the page's session, from the command that it shows. */
async function sessionOf(page) {
  const command = await page.locator('#command').innerText();
  return /sessions\/([0-9a-f-]+)\/messages/.exec(command)[1];
}

describe('the start page', () => {
  for (const scheme of SCHEMES) {
    it(`holds a conversation, in ${scheme}`, () =>
      visit('/', { scheme }, async (page) => {
        await assertAccessible(page);
        await screenshot(page, `start-${scheme}`);
        const first = await say(page, 'Hello', 1);
        assert.match(first, /^served by stateful-\d: home, the home of its key/);
        const second = await say(page, 'Where am I', 2);
        const instance = (text) => /stateful-\d/.exec(text)[0];
        assert.equal(instance(second), instance(first), 'a session stays on one instance');
        assert.equal(await page.locator('#instance').innerText(), instance(first));
        assert.match(await page.locator('#key').innerText(), /^[0-9a-f]{8}$/);

        await page.click('#compare');
        const rows = page.locator('#spread ol');
        await rows.nth(1).waitFor();
        const names = async (row) => new Set(await rows.nth(row).locator('li').allInnerTexts());
        assert.deepEqual(await names(0), new Set(['stateless-1', 'stateless-2']));
        assert.deepEqual(await names(1), new Set([instance(first)]));
        await assertAccessible(page);
        await screenshot(page, `start-conversation-${scheme}`, true);
      }));
  }

  it('shows what is posted elsewhere, and the end of the session', () =>
    visit('/', {}, async (page, context) => {
      await say(page, 'Hello', 1);
      await page.locator('#live', { hasText: 'on' }).waitFor();
      const session = await sessionOf(page);
      const posted = await context.request.post(`${SESSIONS}/${session}/messages`, { data: { message: 'From elsewhere' } });
      assert.equal(posted.status(), 201);
      await page.locator('#log li:nth-child(2) .why', { hasText: 'as a live event' }).waitFor();
      assert.equal((await context.request.delete(`${SESSIONS}/${session}`)).status(), 204);
      await page.locator('#live', { hasText: 'off' }).waitFor();
      assert.equal(await page.locator('#log li').count(), 0);
      await say(page, 'Hello again', 1);
      assert.notEqual(await sessionOf(page), session);
    }));

  it('shows an error with its page', () =>
    visit('/', { expected: [/status of 413/] }, async (page) => {
      await say(page, 'Hello', 1);
      // More than the field allows by itself.
      await page.evaluate(() => document.getElementById('message').removeAttribute('maxlength'));
      await page.fill('#message', 'x'.repeat(20_000));
      await page.press('#message', 'Enter');
      const link = page.locator('#failure a');
      await link.waitFor();
      assert.match(await page.locator('#failure').innerText(), /^The message is too large\. /);
      await assertAccessible(page);
      await link.click();
      await page.locator('h1', { hasText: 'The message is too large' }).waitFor();
    }));

  it('links to what runs on this machine', () =>
    visit('/', {}, async (page) => {
      await page.locator('#local').waitFor();
      const links = await page.locator('#local-links a').evaluateAll((found) => found.map(({ href }) => href));
      assert(links.length > 0);
      for (const link of links) assert.match(link, /^http:\/\/127\.0\.0\.1:\d+\//);
    }));

  it('fits on a phone', () =>
    visit('/', { phone: true }, async (page) => {
      await say(page, 'Hello', 1);
      await assertFits(page);
      await assertAccessible(page);
      await screenshot(page, 'start-phone', true);
    }));
});
