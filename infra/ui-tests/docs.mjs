// The reference: every operation of the document, and requests that are tried out.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SCHEMES, assertAccessible, assertFits, origin, screenshot, visit } from './browser.mjs';

const SESSIONS = '/api/v1/stateful/sessions';
const MESSAGES = `${SESSIONS}/{session_id}/messages`;
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];

const ready = (page) => page.locator('.opblock').first().waitFor();

function operation(page, method, path) {
  const summary = page.locator(`[data-path="${path}"]`);
  return page.locator(`.opblock-${method}`, { has: summary });
}

/** Opens an operation, fills in the parameters, executes it, and returns the response. */
async function tryOut(page, method, path, parameters = {}) {
  const block = operation(page, method, path);
  await block.locator('.opblock-summary-control').click();
  await block.locator('.try-out__btn').click();
  for (const [name, value] of Object.entries(parameters)) {
    await block.locator(`tr[data-param-name="${name}"] input`).fill(value);
  }
  const sent = page.waitForResponse((response) => response.request().method() === method.toUpperCase());
  await block.locator('.btn.execute').click();
  const response = await sent;
  await block.locator('.live-responses-table .response-col_status', { hasText: String(response.status()) }).waitFor();
  return response;
}

describe('the reference', () => {
  it('shows every operation of the document', () =>
    visit('/docs', {}, async (page, context) => {
      await ready(page);
      const served = await (await context.request.get(`${origin}/api/v1/openapi.json`)).json();
      const expected = Object.entries(served.paths).flatMap(([path, operations]) =>
        Object.keys(operations).filter((method) => METHODS.includes(method)).map((method) => `${method} ${path}`));
      assert(expected.length >= 13, expected.join());
      const shown = await page.locator('.opblock').evaluateAll((blocks) => blocks.map((block) => {
        const method = block.querySelector('.opblock-summary-method').textContent.toLowerCase();
        return `${method} ${block.querySelector('[data-path]').dataset.path}`;
      }));
      assert.deepEqual(shown.sort(), expected.sort());
    }));

  for (const scheme of SCHEMES) {
    it(`tries out a session and a message, in ${scheme}`, () =>
      visit('/docs', { scheme }, async (page) => {
        await ready(page);
        await assertAccessible(page);
        await screenshot(page, `docs-${scheme}`);
        const created = await tryOut(page, 'post', SESSIONS);
        assert.equal(created.status(), 201);
        const { session_id: session } = await created.json();
        const posted = await tryOut(page, 'post', MESSAGES, { session_id: session });
        assert.equal(posted.status(), 201);
        assert.equal((await posted.json()).session_id, session);
        await assertAccessible(page);
        await operation(page, 'post', MESSAGES).evaluate((block) => block.scrollIntoView());
        await screenshot(page, `docs-tried-${scheme}`);
      }));
  }

  // Swagger UI warns of each `_` in an address, though only spaces were once written so.
  it('opens an operation by its address', () =>
    visit('/docs', { expected: [/escaping deep link whitespace/] }, async (page) => {
      await ready(page);
      await operation(page, 'get', '/api/v1/stateless/info').locator('.opblock-summary-control').click();
      const { hash } = new URL(page.url());
      assert.notEqual(hash, '');
      await page.goto('about:blank');
      await page.goto(`${origin}/docs${hash}`);
      await page.locator('.opblock.is-open', { has: page.locator('[data-path="/api/v1/stateless/info"]') }).waitFor();
    }));

  it('fits on a phone', () =>
    visit('/docs', { phone: true }, async (page) => {
      await ready(page);
      await assertFits(page);
      await screenshot(page, 'docs-phone');
    }));
});
