// The pages about errors, which need no script.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { SCHEMES, assertAccessible, assertFits, origin, screenshot, visit } from './browser.mjs';

const LIST = '/docs/errors';

describe('the pages about errors', () => {
  it('open, each one', () =>
    visit(LIST, {}, async (page) => {
      const links = await page.locator('td a').evaluateAll((found) => found.map(({ href }) => href));
      assert(links.length > 50, String(links.length));
      for (const link of links) {
        assert.equal((await page.goto(link)).status(), 200, link);
        const code = link.split('/').at(-1);
        assert.equal(await page.locator('.badge code').nth(1).innerText(), code);
        assert.equal(await page.locator('h2').count(), 3, link);
      }
    }));

  it('are where the type of an error leads', () =>
    visit('/', {}, async (page, context) => {
      const data = { operation: 'divide', operands: [1, 0] };
      const problem = await (await context.request.post(`${origin}/api/v1/stateless/calculate`, { data })).json();
      await page.goto(new URL(problem.type, `${origin}/api/v1/stateless/calculate`).href);
      assert.equal(await page.locator('h1').innerText(), problem.title);
    }));

  it('are one click away from a mistyped address', () =>
    visit('/', { phone: true, expected: [/status of 404/] }, async (page) => {
      assert.equal((await page.goto(`${origin}/sessoins`)).status(), 404);
      assert.equal(await page.locator('h1').innerText(), 'There is nothing at this path');
      await assertAccessible(page);
      await assertFits(page);
      await screenshot(page, 'mistyped-phone');
      await page.getByRole('link', { name: 'Cause and cure' }).click();
      await page.getByRole('heading', { name: 'Cure' }).waitFor();
      assert.equal(new URL(page.url()).pathname, `${LIST}/not_found`);
    }));

  for (const scheme of SCHEMES) {
    it(`are accessible, in ${scheme}`, () =>
      visit(LIST, { scheme }, async (page) => {
        await assertAccessible(page);
        await screenshot(page, `errors-${scheme}`);
        await page.goto(`${origin}${LIST}/overloaded`);
        await assertAccessible(page);
        await screenshot(page, `error-${scheme}`);
      }));
  }

  it('fit on a phone', () =>
    visit(LIST, { phone: true }, async (page) => {
      await assertFits(page);
      await screenshot(page, 'errors-phone');
    }));
});
