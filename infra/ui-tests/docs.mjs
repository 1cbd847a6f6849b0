// The reference: every operation of the document, and requests that are tried out.
import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { SCHEMES, assertAccessible, assertFits, origin, screenshot, visit } from './browser.mjs';

const SESSIONS = '/api/v1/stateful/sessions';
const MESSAGES = `${SESSIONS}/{session_id}/messages`;
const AUTH = '/api/v1/auth';
const FILES = '/api/v1/files';
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace'];

const ready = (page) => page.locator('.opblock').first().waitFor();

function operation(page, method, path) {
  const summary = page.locator(`[data-path="${path}"]`);
  return page.locator(`.opblock-${method}`, { has: summary });
}

/** Opens an operation, fills in the parameters and the body (text, or a file), executes it, and returns the response. */
async function tryOut(page, method, path, parameters = {}, body = undefined) {
  const block = operation(page, method, path);
  await block.locator('.opblock-summary-control').click();
  // It stays in that mode while it is closed.
  const begin = block.locator('.try-out__btn:not(.cancel):not(.reset)');
  await block.locator('.try-out__btn').first().waitFor();
  if (await begin.count()) await begin.click();
  for (const [name, value] of Object.entries(parameters)) {
    await block.locator(`tr[data-param-name="${name}"] input`).fill(value);
  }
  if (body?.buffer) {
    await block.locator('.body-param-content-type select, select[aria-label="Request content type"]').first().selectOption(body.as);
    await block.locator('input[type=file]').setInputFiles(body);
  } else if (body !== undefined) await block.locator('.body-param__text').fill(JSON.stringify(body));
  const sent = page.waitForResponse((response) => response.request().method() === method.toUpperCase());
  await block.locator('.btn.execute').click();
  const response = await sent;
  await block.locator('.live-responses-table .response-col_status', { hasText: String(response.status()) }).waitFor();
  return response;
}

/** Registers a user. Its name is random, since a username is never issued again. */
async function registered(context) {
  const user = { username: `ui-${randomUUID()}`, password: randomUUID() };
  const response = await context.request.post(`${origin}${AUTH}/register`, { data: { ...user, name: 'Ada' } });
  assert.equal(response.status(), 201, await response.text());
  return user;
}

/** Gives a token to all operations, by the button "Authorize". */
async function authorize(page, token) {
  await page.locator('.scheme-container .btn.authorize').click();
  const dialog = page.locator('.modal-ux');
  await dialog.locator('input').fill(token);
  await assertAccessible(page);
  await dialog.locator('.btn.authorize').click();
  // It is shown once the token is taken.
  await dialog.getByRole('button', { name: 'Logout' }).waitFor();
  await assertAccessible(page);
  await dialog.locator('.btn-done').click();
  await dialog.waitFor({ state: 'hidden' });
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

  it('logs in, and then calls as that user', () =>
    visit('/docs', {}, async (page, context) => {
      const user = await registered(context);
      await ready(page);
      const loggedIn = await tryOut(page, 'post', `${AUTH}/login`, {}, user);
      assert.equal(loggedIn.status(), 200);
      const { access_token: token } = await loggedIn.json();
      await authorize(page, token);
      const me = await tryOut(page, 'get', `${AUTH}/me`);
      assert.equal(me.status(), 200);
      assert.equal((await me.json()).id, user.username);
      const shown = operation(page, 'get', `${AUTH}/me`).locator('.live-responses-table .response-col_description');
      await shown.getByText(user.username).first().waitFor();
      await operation(page, 'get', `${AUTH}/me`).evaluate((block) => block.scrollIntoView());
      await screenshot(page, 'docs-logged-in');
    }));

  it('uploads files, and downloads them', () =>
    visit('/docs', {}, async (page, context) => {
      const user = await registered(context);
      const loggedIn = await context.request.post(`${origin}${AUTH}/login`, { data: user });
      const { access_token: token } = await loggedIn.json();
      await ready(page);
      await authorize(page, token);
      const buffer = randomBytes(300_000);
      const sha256 = createHash('sha256').update(buffer).digest('hex');
      const sent = { name: 'report Ω.bin', mimeType: 'application/octet-stream', buffer };
      const form = await tryOut(page, 'post', FILES, {}, { ...sent, as: 'multipart/form-data' });
      assert.equal(form.status(), 201);
      const file = await form.json();
      assert.deepEqual([file.name, file.size, file.sha256], [sent.name, buffer.length, sha256]);
      await assertAccessible(page);

      const content = await tryOut(page, 'get', `${FILES}/{file_id}/content`, { file_id: file.id });
      assert.equal(content.status(), 200);
      const shown = operation(page, 'get', `${FILES}/{file_id}/content`).locator('.live-responses-table');
      const link = shown.locator('a[download]').first();
      const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
      assert((await readFile(await download.path())).equals(buffer), 'the bytes that were sent');
      await operation(page, 'get', `${FILES}/{file_id}/content`).evaluate((block) => block.scrollIntoView());
      await screenshot(page, 'docs-downloaded');

      // As the whole body, with its name in a header.
      await operation(page, 'post', FILES).locator('.opblock-summary-control').click();
      const named = { 'Content-Disposition': 'attachment; filename="plain.bin"' };
      const plain = await tryOut(page, 'post', FILES, named, { ...sent, as: 'application/octet-stream' });
      assert.equal(plain.status(), 201);
      const { name, sha256: again } = await plain.json();
      assert.deepEqual([name, again], ['plain.bin', sha256]);
      await screenshot(page, 'docs-uploaded');
    }));

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
