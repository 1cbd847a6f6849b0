// Two pages for phones in the crowd of infra/local/tests/e2e/classroom/ledger.rs: each shows what was acknowledged to it. They talk
// until the file CLASS_STOP exists; then CLASS_LEDGER gets what was acknowledged.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { close, launch, state, visit } from './browser.mjs';

const { TANDEM_CLASS, CLASS_NAME, CLASS_STOP, CLASS_LEDGER } = process.env;
const PAGE = new URL(TANDEM_CLASS);
const code = readFileSync(`${state}/class.code`, 'utf8').trim();
// The page itself repeats what the busy system refuses.
const BUSY = [/\b429\b/, /\b50[234]\b/];
const SOURCES = { memory: 'the memory of the instance', redis: 'Redis', created: 'just created' };

/** What the page shows, read at once. */
const shown = (page) => page.evaluate(() => {
  const text = (id) => document.getElementById(id).textContent;
  return { count: Number(text('count')), instance: text('instance'), source: text('source'), lost: !document.getElementById('lost').hidden };
});

async function talk(page, nickname) {
  const responses = [];
  page.on('response', (response) => {
    if (response.url().includes('/api/v1/stateful/sessions') && response.ok()) responses.push(response.headers());
  });
  await page.fill('#nickname', nickname);
  await page.press('#nickname', 'Enter');
  await page.locator('#room').waitFor();
  const ids = new Set();
  while (!existsSync(CLASS_STOP)) {
    const acknowledged = page.waitForResponse((response) => response.url().endsWith('/messages') && response.status() === 201);
    await page.click('#say');
    const message = await (await acknowledged).json();
    ids.add(message.message_id);
    assert.equal(message.message_count, ids.size, `${nickname}: the response`);
    await page.locator('#count', { hasText: new RegExp(`^${ids.size}$`) }).waitFor();
    await page.waitForTimeout(1_000 + Math.random() * 2_000);
    // The page may have looked at its session since.
    const now = await shown(page);
    assert.deepEqual([now.count, now.lost], [ids.size, false], `${nickname}: the page`);
    const isOfAResponse = responses.some((headers) => headers['x-served-by'] === now.instance
      && (SOURCES[headers['x-session-source']] ?? headers['x-session-source']) === now.source);
    assert(isOfAResponse, `${nickname}: ${JSON.stringify(now)} is of no response`);
  }
  return { nickname, count: ids.size };
}

await launch();
try {
  const names = [1, 2].map((n) => `${CLASS_NAME} ${n}`);
  const options = { phone: true, at: PAGE.origin, expected: BUSY };
  const ledgers = await Promise.all(names.map((name) => visit(`${PAGE.pathname}#${code}`, options, (page) => talk(page, name))));
  writeFileSync(CLASS_LEDGER, JSON.stringify(ledgers));
  for (const { nickname, count } of ledgers) console.error(`${nickname}: ${count} messages acknowledged and shown`);
} finally {
  await close();
}
