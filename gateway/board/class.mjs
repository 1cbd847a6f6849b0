// The class: each person by nickname where the key is served now, mostly at home, and the way into the room. The list needs the token, since
// it has the code of the room.

import { token } from './controls.mjs';
import { read as readLab } from './lab.mjs';
import { isConfirmed, make } from './panels.mjs';
import { placeOf, membersOf } from './rendezvous.mjs';

const POLL_MS = 1_000;
/** Without a class it is asked again after this long. */
const CLOSED_MS = 30_000;
const PATH = '/control/v1/class';
const SVG = 'http://www.w3.org/2000/svg';
/** Light modules around a QR code (ISO/IEC 18004). */
const QUIET = 4;

/** The people at each instance, as the dots of their sessions: a map from its name to them, in the order of the list. */
export function places(people, instances) {
  const members = membersOf(instances);
  const found = new Map();
  for (const person of people) {
    const { serving } = placeOf(members, person.key);
    if (!found.has(serving)) found.set(serving, []);
    found.get(serving).push(person);
  }
  return found;
}

/** A person in words. */
export function told({ nickname, message_count: count, instance }, place) {
  const messages = `${count} message${count === 1 ? '' : 's'}`;
  return instance === place ? `${nickname}: ${messages}` : `${nickname}: ${messages}, served last by ${instance}`;
}

/** The path of a QR code of these rows, in which `1` is a dark module. */
export function modules(rows) {
  return rows.flatMap((row, y) => [...row].map((one, x) => (one === '1' ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ''))).join('');
}

function picture(rows) {
  const svg = document.createElementNS(SVG, 'svg');
  const size = rows.length + 2 * QUIET;
  svg.setAttribute('viewBox', `0 0 ${size} ${size}`);
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', 'QR code of the address for phones');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', modules(rows));
  svg.append(path);
  return svg;
}

/**
 * Mounts the panel of the class; `cards` is the list of stateful instances, `show` inspects a key. Returns a function that
 * brings the people of each card up to date with the pools.
 */
export function mount({ panel, qr, address, code, count, missed, enlarge, reset, large, cards }, { show, report }) {
  let room = null;
  let url = null;
  /** Beginnings and ends of requests that end sessions. */
  let ends = 0;

  async function request(method, path = PATH) {
    return fetch(path, { method, headers: { Authorization: `Bearer ${token()}` }, cache: 'no-store' });
  }

  /** Without a class, its path would be an error in the browser's console. */
  async function isOpen() {
    if (room) return true;
    return (await readLab())?.class;
  }

  async function poll() {
    if (!token() || !(await isOpen())) return close();
    const before = ends;
    const response = await request('GET').catch(() => null);
    // Away for a moment: the list stays, and the page says that it is stale.
    if (!response) return POLL_MS;
    if (!response.ok) return close();
    const next = await response.json();
    // It may have whom the page has ended meanwhile.
    if (before !== ends) return 0;
    room = next;
    open();
    return POLL_MS;
  }

  function close() {
    room = null;
    panel.hidden = true;
    return token() ? CLOSED_MS : POLL_MS;
  }

  function open() {
    panel.hidden = false;
    count.textContent = `${room.people.length} ${room.people.length === 1 ? 'person' : 'people'}`;
    missed.textContent = room.missed.length ? `Not heard from: ${room.missed.join(', ')}` : '';
    if (url === room.url) return;
    url = room.url;
    const [page] = url.split('#');
    address.textContent = page;
    code.textContent = room.code;
    qr.replaceChildren(picture(room.qr));
    large.querySelector('.qr').replaceChildren(picture(room.qr));
    large.querySelector('.address').textContent = page;
    large.querySelector('.code').textContent = room.code;
  }

  async function end(path, button, question) {
    if (!isConfirmed(button, question)) return;
    report('');
    ends += 1;
    const response = await request('DELETE', path).catch(() => null);
    ends += 1;
    // Who is gone already need not be kicked.
    if (response?.ok || response?.status === 404) {
      if (room) room = { ...room, people: room.people.filter(({ digest }) => path !== PATH && path !== `${PATH}/${digest}`) };
    } else {
      const problem = await response?.json().catch(() => ({}));
      report(problem?.detail ?? 'The gateway did not respond; the class may be as before.');
    }
  }

  function chip(person) {
    const item = make('li', 'person');
    item.dataset.digest = person.digest;
    const name = make('button', 'quiet small name');
    name.type = 'button';
    name.append(make('bdi'), make('span'));
    name.addEventListener('click', () => show(item.dataset.key));
    const kick = make('button', 'quiet small kick', '×');
    kick.type = 'button';
    kick.addEventListener('click', () => end(`${PATH}/${item.dataset.digest}`, kick, 'End?'));
    item.append(name, kick);
    return item;
  }

  function fill(item, person, place) {
    const text = told(person, place);
    if (item.dataset.told === text) return;
    Object.assign(item.dataset, { told: text, key: person.key });
    item.classList.toggle('away', person.instance !== place);
    item.querySelector('bdi').textContent = person.nickname;
    item.querySelector('span').textContent = ` ${person.message_count}`;
    item.title = text;
    item.querySelector('.name').setAttribute('aria-label', `${text}; show the key`);
    item.querySelector('.kick').setAttribute('aria-label', `× End the session of ${person.nickname}`);
  }

  function people(list, here, name) {
    const known = new Map([...list.children].map((item) => [item.dataset.digest, item]));
    here.forEach((person, n) => {
      const item = known.get(person.digest) ?? chip(person);
      known.delete(person.digest);
      fill(item, person, name);
      if (list.children[n] !== item) list.insertBefore(item, list.children[n] ?? null);
    });
    known.forEach((item) => item.remove());
  }

  reset.addEventListener('click', () => end(PATH, reset, 'Really end all sessions?'));
  enlarge.addEventListener('click', () => large.showModal());
  large.querySelector('button').addEventListener('click', () => large.close());
  (async () => {
    for (;;) {
      const wait = await poll().catch(() => POLL_MS);
      const asked = token();
      // A token that is given is tried at once.
      for (let waited = 0; waited < wait && asked === token(); waited += 250) await new Promise((done) => { setTimeout(done, 250); });
    }
  })();

  return (state) => {
    const placed = places(room?.people ?? [], state.pools.stateful?.instances ?? []);
    for (const card of cards.children) {
      const list = card.querySelector('.people');
      people(list, placed.get(card.dataset.id) ?? [], card.dataset.id);
      list.hidden = list.children.length === 0;
    }
  };
}
