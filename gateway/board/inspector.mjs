// The inspector: where a key goes, why, and what a change would move. All of it is what the gateway's `explain` says.

import { make } from './panels.mjs';
import { milliseconds, percent } from './words.mjs';

const KEY = /^[0-9a-f]{8}$/;
const TWO_64 = 2 ** 64;
const SVG = 'http://www.w3.org/2000/svg';

/** The length of each member's bar, from 0 to 1. */
export function bars(ranking) {
  const weighted = ranking.map(({ weighted_score: value }) => value);
  if (weighted.every((value) => value === undefined)) return ranking.map(({ score }) => Number(BigInt(`0x${score}`)) / TWO_64);
  const most = Math.max(...weighted);
  return weighted.map((value) => value / most);
}

/** What a change would move, in words. */
export function effect(key, { home, moves, moved_percent: moved, flows }) {
  const [first] = flows;
  const which = flows.length > 0 && flows.every(({ from }) => from === first.from) ? `, all from ${first.from}`
    : flows.length > 0 && flows.every(({ to }) => to === first.to) ? `, all to ${first.to}` : '';
  const own = moves ? `${key} would move to ${home ?? 'nowhere'}` : `${key} would stay at ${home}`;
  return `${percent(moved / 100)} of all keys would move${which}. ${own}.`;
}

/** The next free name of the pool: stateful-4 after stateful-3. */
export function nextName(names, pool) {
  const numbers = names.map((name) => Number(new RegExp(`^${pool}-(\\d+)$`).exec(name)?.[1] ?? 0));
  return `${pool}-${Math.max(0, ...numbers) + 1}`;
}

function bar(share) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'bar');
  svg.setAttribute('aria-hidden', 'true');
  const rect = document.createElementNS(SVG, 'rect');
  rect.setAttribute('width', `${Math.max(0.5, share * 100).toFixed(1)}%`);
  rect.setAttribute('height', '100%');
  svg.append(rect);
  return svg;
}

async function explain(key, change = '') {
  const response = await fetch(`/control/v1/pools/stateful/explain?key=${key}${change}`, { cache: 'no-store' });
  const body = await response.json();
  if (!response.ok) throw new Error(body.detail ?? `status ${response.status}`);
  return body;
}

/** Makes the inspector; returns `show(key, request)`, and the key that is shown. */
export function mount({ form, input, keys, result }, chosen) {
  let shown = null;

  async function forecast(line, key, change) {
    line.textContent = '…';
    try {
      line.textContent = effect(key, (await explain(key, change)).change);
    } catch (error) {
      line.textContent = error.message;
    }
  }

  function row(key, member, share) {
    const item = make('li');
    item.dataset.name = member.name;
    const head = make('p', 'head');
    head.append(make('b', '', `${member.rank}. ${member.name}`), make('span', '', member.rank === 1 ? 'home' : ''));
    const button = make('button', 'quiet small', 'If it left');
    button.type = 'button';
    button.setAttribute('aria-label', `If it left: what would move without ${member.name}`);
    const line = make('p', 'effect');
    line.setAttribute('role', 'status');
    button.addEventListener('click', () => forecast(line, key, `&without=${encodeURIComponent(member.name)}`));
    head.append(button);
    const score = make('p', 'score', `score ${member.score}${member.weighted_score === undefined ? '' : `, weight ${member.weight}`}`);
    item.append(head, bar(share), score);
    if (member.passed_over) item.append(make('p', 'note', `passed over: ${member.passed_over}`));
    item.append(line);
    return item;
  }

  function describe({ method, route, status, duration_ms: duration, instance, verdict, tried = [], code }) {
    const way = tried.length ? ` after ${tried.join(', ')} failed` : '';
    const by = instance ? `${instance}${way}, ${verdict}` : `no instance${code ? `: ${code}` : ''}`;
    return `${method} ${route}: ${status} in ${milliseconds(duration)} by ${by}`;
  }

  async function show(key, request = null) {
    chosen(key);
    const parts = [];
    if (request) parts.push(make('p', 'request', describe(request)));
    if (!key) {
      shown = null;
      parts.push(make('p', 'reason', 'This request has no key: its pool does not track clients.'));
      result.replaceChildren(...parts);
      return;
    }
    shown = key;
    input.value = key;
    try {
      const explained = await explain(key);
      if (shown !== key) return;
      const lengths = bars(explained.ranking);
      const list = make('ol', 'ranking');
      list.append(...explained.ranking.map((member, place) => row(key, member, lengths[place])));
      parts.push(make('p', 'reason', explained.reason), list);
      const name = nextName(explained.ranking.map((member) => member.name), 'stateful');
      const line = make('p', 'effect');
      line.setAttribute('role', 'status');
      const button = make('button', 'quiet small', `If ${name} came`);
      button.type = 'button';
      button.addEventListener('click', () => forecast(line, key, `&with=${name}`));
      parts.push(button, line);
    } catch (error) {
      parts.push(make('p', 'failure', error.message));
    }
    result.replaceChildren(...parts);
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const key = input.value.trim().toLowerCase().split('-')[0];
    if (KEY.test(key)) show(key);
    else result.replaceChildren(make('p', 'failure', 'A key is 8 hex digits, such as 0badcafe: the first part of a session id.'));
  });

  /** Offers the keys of recent requests, newest first. */
  function offer(sessions) {
    const recent = [...sessions.values()].sort((a, b) => b.seen - a.seen).slice(0, 20).map(({ key }) => key);
    if (recent.join() === [...keys.children].map(({ value }) => value).join()) return;
    keys.replaceChildren(...recent.map((key) => { const option = make('option'); option.value = key; return option; }));
  }

  return { show, offer, again: () => (shown ? show(shown) : undefined) };
}
