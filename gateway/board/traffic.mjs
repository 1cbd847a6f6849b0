// The traffic source: clients that a driver simulates. The gateway passes their settings on to it. Without a driver, as in
// production, nothing of this is on the page.

import { token } from './controls.mjs';
import { make } from './panels.mjs';
import { changes } from './poll.mjs';
import { amount } from './words.mjs';

const TRAFFIC = '/control/v1/traffic';
/** How often the figures are asked for, while the controls are unlocked. */
const FOLLOW_MS = 2_000;

/** The settings: [name, label, kind of field, least, most, step, unit]. */
export const FIELDS = [
  ['clients', 'Clients', 'range', 1, 200, 1, ''],
  ['think_time_ms', 'Think time, ms', 'number', 50, 60_000, 1, ''],
  ['stateless_percent', 'Stateless share', 'range', 0, 100, 5, '%'],
  ['reads_percent', 'Reads of sessions', 'range', 0, 100, 5, '%'],
  ['clients_per_address', 'Clients per address', 'number', 1, 200, 1, ''],
  ['cookie_jar', 'Cookie jar', 'checkbox'],
];

/** Whether the clients run, in words. */
export function stateOf({ running, settings, sessions }) {
  if (!running) return sessions ? `stopping: ${sessions} sessions are left` : 'stopped';
  const { clients, clients_per_address: together } = settings;
  const from = together > 1 ? `, ${Math.min(together, clients)} behind each address` : '';
  return `${clients} ${clients === 1 ? 'client' : 'clients'}${from}, ${settings.cookie_jar ? 'with cookies' : 'without cookies'}`;
}

/** What was measured, in words: a line for each pool. */
export function figuresOf({ pools }) {
  return pools.filter(({ requests }) => requests > 0).map(({ pool, requests, requests_per_s: rate, failures }) => {
    const failed = failures.reduce((sum, { count }) => sum + count, 0);
    const kinds = failures.slice(0, 3).map(({ kind, count }) => `${amount(count)} × ${kind.replaceAll('_', ' ')}`).join(', ');
    const more = failures.length > 3 ? ', …' : '';
    const lost = failed ? `, ${amount(failed)} failed: ${kinds}${more}` : ', none failed';
    return `${pool}: ${amount(Math.round(rate * 10) / 10)} req/s, ${amount(requests)} in all${lost}`;
  });
}

/** What a field of the form holds, as a setting. */
export const valueOf = (field) => (field.type === 'checkbox' ? field.checked : Number(field.value));

/** Keeps the panel up to date while the controls are unlocked. `report` shows a failure, `found` is told whether there is a driver. */
export function mount({ panel, form, fields, state, figures, stop }, { report, found }) {
  const [start] = form.querySelectorAll('button');
  let known = null;
  let isAbsent = false;
  const sent = changes();
  let last = Promise.resolve();
  /** Whether the fields differ from the driver's settings because somebody is changing them. */
  let edited = false;

  const inputs = new Map(FIELDS.map(([name, label, type, min, max, step, unit]) => {
    const input = make('input');
    Object.assign(input, { type, id: `traffic-${name}`, name });
    if (type !== 'checkbox') Object.assign(input, { min, max, step, required: true });
    const text = make('label', '', label);
    text.htmlFor = input.id;
    const row = make('div', `field ${type}`);
    row.append(text, input);
    if (type === 'range') {
      const shown = make('output');
      shown.htmlFor = input.id;
      row.append(shown);
    }
    fields.append(row);
    input.addEventListener('input', () => { edited = true; write(name); });
    // While it runs, each change applies at once.
    input.addEventListener('change', () => { if (known?.running) send('PUT'); });
    return [name, { input, shown: row.querySelector('output'), unit }];
  }));

  function write(name) {
    const { input, shown, unit } = inputs.get(name);
    if (!shown) return;
    shown.textContent = unit ? `${input.value} ${unit}` : input.value;
    input.setAttribute('aria-valuetext', shown.textContent);
  }

  function fill(settings) {
    for (const [name, { input }] of inputs) {
      if (input.type === 'checkbox') input.checked = settings[name];
      else input.value = settings[name];
      write(name);
    }
  }

  function show(traffic) {
    known = traffic;
    panel.hidden = !traffic;
    found(Boolean(traffic));
    if (!traffic) return;
    if (!edited) fill(traffic.settings);
    const text = stateOf(traffic);
    if (state.textContent !== text) state.textContent = text;
    state.dataset.running = traffic.running;
    figures.replaceChildren(...figuresOf(traffic).map((line) => make('li', '', line)));
    start.textContent = traffic.running ? 'Apply' : 'Start';
    stop.disabled = !traffic.running;
  }

  async function request(method, body) {
    const headers = { Authorization: `Bearer ${token()}` };
    if (body) headers['Content-Type'] = 'application/json';
    const response = await fetch(TRAFFIC, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
    if (response.ok) return response.json();
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `The gateway returned ${response.status}.`);
  }

  /** Changes are made in their order, each with the fields as they are now. */
  function send(method) {
    if (method === 'PUT' && !form.reportValidity()) return;
    const settings = Object.fromEntries([...inputs].map(([name, { input }]) => [name, valueOf(input)]));
    edited = false;
    report('');
    sent.begin();
    last = last.then(() => perform(method, method === 'PUT' ? settings : undefined));
  }

  async function perform(method, body) {
    let traffic = null;
    try {
      traffic = await request(method, body);
    } catch (error) {
      report(error instanceof TypeError ? 'The gateway did not respond; the traffic may be as before.' : error.message);
    }
    sent.end();
    if (traffic && !sent.isWaiting()) show(traffic);
  }

  async function ask() {
    if (!token()) return show(null);
    if (isAbsent || sent.isWaiting()) return undefined;
    const isNews = sent.poll();
    try {
      const traffic = await request('GET');
      // Asked for once: a driver does not come by itself.
      isAbsent = !traffic.driver;
      if (isNews()) show(traffic.driver ? traffic : null);
    } catch (error) {
      // A gateway that is away says so elsewhere.
      if (known && !(error instanceof TypeError)) state.textContent = error.message;
    }
    return undefined;
  }

  form.addEventListener('submit', (event) => { event.preventDefault(); send('PUT'); });
  stop.addEventListener('click', () => send('DELETE'));
  let was = token();
  ask();
  setInterval(ask, FOLLOW_MS);
  // At once when the controls are unlocked or locked.
  setInterval(() => {
    if (was === token()) return;
    was = token();
    ask();
  }, 250);
}
