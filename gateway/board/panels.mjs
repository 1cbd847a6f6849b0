// What is text: instances, counters, the log. Each update changes only what differs, so that focus and selection stay.

import { POOLS, perSecond, sampling } from './state.mjs';
import { VERDICTS } from './verdicts.mjs';
import { amount, percent, strategyName } from './words.mjs';

const STATES = {
  healthy: ['✓', 'healthy'], draining: ['↓', 'draining'], drained: ['∅', 'drained'], unhealthy: ['✕', 'unhealthy'],
  ejected: ['⊘', 'ejected'], pending: ['…', 'pending'], duplicate_name: ['!', 'duplicate name'], wrong_instance: ['!', 'wrong instance'],
};
const CONNECTIONS = {
  connecting: 'connecting', live: 'live', stale: 'stale: nothing came for 3 s', reconnecting: 'reconnecting', refused: 'rejected',
};

export function make(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** What takes a question back, by button. */
const asked = new WeakMap();

/** Whether this press answers the button's question. The first press only asks; leaving the button, or Escape, takes the question back. */
export function isConfirmed(button, question) {
  const takeBack = asked.get(button);
  if (takeBack) {
    takeBack();
    return true;
  }
  const label = button.textContent;
  const listening = new AbortController();
  const forget = () => {
    listening.abort();
    asked.delete(button);
    button.classList.remove('armed');
    button.textContent = label;
  };
  asked.set(button, forget);
  button.classList.add('armed');
  button.textContent = question;
  // Not every browser does so by itself on a press.
  button.focus();
  button.addEventListener('blur', forget, listening);
  button.addEventListener('keydown', ({ key }) => { if (key === 'Escape') forget(); }, listening);
  return false;
}

/** The shape of a verdict, as an image. */
export function shape(kind) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('viewBox', '-1.5 -1.5 3 3');
  svg.setAttribute('class', 'shape');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
  path.setAttribute('d', VERDICTS[kind].path);
  path.setAttribute('class', kind);
  path.setAttribute('fill', kind === 'failed' ? 'currentColor' : VERDICTS[kind].colour);
  svg.append(path);
  return svg;
}

export function legend(list) {
  for (const [kind, { label, title }] of Object.entries(VERDICTS)) {
    const item = make('li');
    item.title = title;
    item.append(shape(kind), make('span', '', label));
    list.append(item);
  }
}

const idOf = ({ name, addr }) => name ?? addr;

/** The cards of a pool's instances. Returns whether cards came, went or changed places. */
export function instances(list, pool, rates) {
  const known = new Map([...list.children].map((card) => [card.dataset.id, card]));
  const now = new Map((rates?.instances ?? []).map((instance) => [instance.addr, instance]));
  let moved = false;
  pool.instances.forEach((instance, place) => {
    const id = idOf(instance);
    const card = known.get(id) ?? newCard(id, pool.name);
    known.delete(id);
    if (list.children[place] !== card) {
      list.insertBefore(card, list.children[place] ?? null);
      moved = true;
    }
    const counted = now.get(instance.addr);
    fill(card, { ...instance, ...(counted ? { ...counted, name: instance.name } : { requests: null }) }, rates);
  });
  for (const card of known.values()) { card.remove(); moved = true; }
  return moved;
}

function newCard(id, pool) {
  const card = make('li', 'instance');
  card.dataset.id = id;
  const head = make('div', 'head');
  head.append(make('h3', 'name', id), make('div', 'acts'), make('span', 'state'));
  const facts = make('dl');
  const names = pool === 'stateful' ? ['req/s', 'in flight', 'sessions', 'hot', 'keys'] : ['req/s', 'in flight'];
  for (const name of names) {
    const fact = make('div');
    fact.append(make('dt', '', name), make('dd', name.replace(/\W/g, '-')));
    facts.append(fact);
  }
  card.append(head, facts);
  if (pool === 'stateful') {
    const people = make('ul', 'people');
    people.hidden = true;
    people.setAttribute('aria-label', `People of the class at ${id}`);
    card.append(make('div', 'seats'), people);
  }
  card.append(make('p', 'note'));
  return card;
}

function fill(card, instance, rates) {
  const fact = (name, text) => { const found = card.querySelector(`dd.${name}`); if (found) write(found, text); };
  const [sign, state] = STATES[instance.state] ?? ['?', instance.state];
  if (card.dataset.state !== instance.state) card.dataset.state = instance.state;
  write(card.querySelector('.state'), `${sign} ${state}`);
  fact('req-s', instance.requests === null ? '–' : amount(Math.round(perSecond({ requests: instance.requests, interval_ms: rates.interval_ms }))));
  fact('in-flight', amount(instance.in_flight + instance.streams));
  fact('sessions', instance.live_sessions === null ? '–' : amount(instance.live_sessions));
  fact('hot', instance.hot_sessions === null || instance.hot_sessions === undefined ? '–' : amount(instance.hot_sessions));
  fact('keys', percent(instance.key_share_percent / 100));
  const drain = instance.drain && instance.state === 'draining' ? `its keys move in ${instance.drain.seconds_left} s at most` : '';
  write(card.querySelector('.note'), drain || (instance.state === 'healthy' ? '' : instance.last_error ?? ''));
}

/** All text of the page. Returns whether instances came, went or changed places. */
export function update(page, state, now) {
  let moved = false;
  for (const pool of POOLS) {
    const known = state.pools[pool];
    if (!known) continue;
    write(page.strategy[pool], strategyName(known.strategy));
    moved = instances(page.instances[pool], known, state.rates[pool]) || moved;
  }
  const { phase, detail, since } = state.connection;
  page.connection.dataset.phase = phase;
  const seconds = Math.round((now - since) / 1000);
  const past = ['stale', 'reconnecting'].includes(phase) && seconds > 0 ? ` for ${seconds} s` : '';
  write(page.connection, phase === 'refused' ? `${CONNECTIONS.refused}: ${detail}` : `${CONNECTIONS[phase]}${past}`);
  document.documentElement.classList.toggle('stale', !['live', 'connecting'].includes(phase));
  const n = sampling(state);
  write(page.sampling, n > 1.05 ? `Sampled: each dot is 1 of ${amount(Math.round(n * 10) / 10)} requests` : 'Each dot is one request');
  write(page.clients, `${state.sessions.size} recent ${state.sessions.size === 1 ? 'key' : 'keys'}`);
  const total = POOLS.reduce((sum, pool) => sum + (state.rates[pool] ? perSecond(state.rates[pool]) : 0), 0);
  write(page.total, `${amount(Math.round(total))} req/s`);
  log(page.log, state.log, now);
  return moved;
}

function log(list, entries, now) {
  const newest = Number(list.dataset.newest ?? -1);
  for (const entry of entries.filter(({ id }) => id > newest).reverse()) {
    const item = make('li', entry.kind);
    const time = make('time', '', new Date(Date.now() - (now - entry.at)).toLocaleTimeString([], { hour12: false }));
    item.append(time, make('span', '', entry.text));
    list.prepend(item);
    list.dataset.newest = String(entry.id);
  }
  while (list.children.length > entries.length) list.lastChild.remove();
}
