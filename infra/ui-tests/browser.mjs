// A browser without network: every page is watched for console errors, and for requests to other hosts.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const BROWSERS = ['/usr/bin/chromium', '/usr/bin/google-chrome-stable', '/usr/bin/google-chrome'];
const FLAGS = [
  '--no-sandbox', // root in a container
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Nothing but this machine can be resolved.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
];
export const SCHEMES = ['light', 'dark'];
const WIDE = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
export const SIZES = {
  projector: { width: 1920, height: 1080 }, laptop: { width: 1280, height: 800 }, phone: { width: 360, height: 640 },
};

/** The system's address, such as https://127.0.0.1:8443. */
export const origin = setting('TANDEM_TARGET');
/** The folder of the stack's state, with its tokens and configuration. */
export const state = setting('TANDEM_STATE');
const screenshots = setting('UI_SCREENSHOTS');
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let browser;
let failures = 0;

function setting(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set; run make test-ui`);
  return value;
}

export async function launch() {
  // No pictures of earlier runs.
  rmSync(screenshots, { recursive: true, force: true });
  mkdirSync(screenshots, { recursive: true });
  const executablePath = process.env.CHROMIUM ?? BROWSERS.find((path) => existsSync(path));
  assert(executablePath, `no browser: none of ${BROWSERS.join(', ')} exists; set CHROMIUM`);
  // In a new profile, which is removed at the end.
  browser = await chromium.launch({ executablePath, args: FLAGS });
}

export async function close() {
  await browser?.close();
}

/**
 * Opens a path of the system, passes the page to `use`, and checks what the page did. `before` gets the page before it is
 * opened.
 */
export async function visit(path, options, use) {
  const { scheme = 'light', phone = false, viewport = phone ? PHONE : WIDE, expected = [], at = origin } = options;
  const context = await browser.newContext({
    viewport,
    colorScheme: scheme,
    reducedMotion: options.reducedMotion ?? 'no-preference',
    ignoreHTTPSErrors: true, // the certificate is of the stack's own authority
  });
  // On a busy machine, too.
  context.setDefaultTimeout(60_000);
  let page;
  try {
    page = await context.newPage();
    const faults = [];
    const hosts = new Set();
    page.on('console', (message) => {
      if (message.type() === 'error') faults.push(message.text());
    });
    page.on('pageerror', (error) => faults.push(String(error)));
    context.on('request', (request) => {
      const url = new URL(request.url());
      if (url.protocol !== 'data:') hosts.add(url.origin);
    });
    await options.before?.(page);
    const response = await page.goto(at + path);
    assert.equal(response.status(), 200, path);
    const result = await use(page, context);
    const unexpected = faults.filter((fault) => !expected.some((pattern) => pattern.test(fault)));
    assert.deepEqual(unexpected, [], `console of ${path}`);
    assert.deepEqual([...hosts], [at], `hosts of the requests of ${path}`);
    return result;
  } catch (error) {
    failures += 1;
    await page?.screenshot({ path: `${screenshots}/failed-${failures}.png` }).catch(() => {});
    throw error;
  } finally {
    await context.close();
  }
}

/** A page of another origin, unwatched. */
export async function foreign(url, use) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  try {
    const page = await context.newPage();
    await page.goto(url);
    return await use(page);
  } finally {
    await context.close();
  }
}

/** Fails when axe-core finds something serious or critical. */
export async function assertAccessible(page) {
  // A colour between two states is neither of them.
  await page.evaluate(() => {
    const ending = document.getAnimations().filter((one) => one.effect.getComputedTiming().endTime !== Infinity);
    return Promise.allSettled(ending.map((one) => one.finished)).then(() => undefined);
  });
  const { violations } = await page.evaluate(`${axe};axe.run()`);
  const grave = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  const found = grave.map(({ id, nodes }) => {
    const places = nodes.slice(0, 5).map((node) => `${node.html.slice(0, 160)}: ${node.failureSummary}`);
    return `${id} at ${nodes.length} places: ${places.join('; ')}`;
  });
  assert.deepEqual(found, [], page.url());
}

/** Fails when a phone would scroll sideways. */
export async function assertFits(page) {
  const widths = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert(widths[0] <= widths[1], `${page.url()} is ${widths[0]} wide on a screen of ${widths[1]}`);
}

/** Writes the visible part, or the whole page, to target/ui. */
export async function screenshot(page, name, fullPage = false) {
  await page.screenshot({ path: `${screenshots}/${name}.png`, fullPage, animations: 'disabled' });
}
