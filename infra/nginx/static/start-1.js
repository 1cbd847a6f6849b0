// The start page: a conversation, a comparison of both strategies, and links to what runs on this machine.
'use strict';

const SESSIONS = '/api/v1/stateful/sessions';
const INFO = '/api/v1/stateless/info';
const COMPARED = 8;
// What each verdict of X-Affinity means.
const REASONS = {
  home: 'the home of its key',
  new: 'its key was drawn with this request',
  failover: 'the home of its key is down',
  spilled: 'the home of its key has too much load',
  invalid: 'the key was malformed, so a new one was drawn',
  off: 'round robin, no key involved',
};

const element = (id) => document.getElementById(id);
let session = null; // its id, which is a secret of this page
let events = null;
// By a message's number: its list item. The event of a message may arrive before the response of its POST.
const items = new Map();

// ---- requests

async function request(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: body === undefined ? {} : { 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = response.status === 204 ? null : await response.json();
  if (!response.ok) throw new Problem(content);
  return { content, route: routeOf(response.headers) };
}

class Problem extends Error {
  constructor(document) {
    super(`${document.title}. ${document.detail}`);
    this.code = document.code;
    this.page = document.type;
  }
}

function routeOf(headers) {
  const [verdict, ...rest] = (headers.get('X-Affinity') ?? '').split(';').map((part) => part.trim());
  const key = rest.find((part) => part.startsWith('key='))?.slice('key='.length);
  const total = /upstream;dur=([\d.]+)/.exec(headers.get('Server-Timing') ?? '')?.[1];
  return { instance: headers.get('X-Served-By'), verdict, key, source: headers.get('X-Session-Source'), ms: total };
}

// ---- the conversation

async function say(text) {
  if (session === null) await open();
  const { content, route } = await request('POST', `${SESSIONS}/${session}/messages`, { message: text });
  show(content, route);
}

async function open() {
  const { content, route } = await request('POST', SESSIONS, { client_data: { page: 'start' } });
  session = content.session_id;
  note(route);
  element('command').textContent =
    `curl -k --json '{"message": "Hello from elsewhere"}' \\\n  ${location.origin}${SESSIONS}/${session}/messages`;
  element('elsewhere').hidden = false;
  element('again').hidden = false;
  listen();
}

function listen() {
  events = new EventSource(`${SESSIONS}/${session}/events`);
  events.onopen = () => { element('live').textContent = 'on'; };
  // EventSource connects again by itself, and tells the last event that it got.
  events.onerror = () => { element('live').textContent = 'connecting'; };
  events.addEventListener('message', (event) => show(JSON.parse(event.data), null));
  events.addEventListener('ended', reset);
}

function reset() {
  events?.close();
  events = null;
  session = null;
  items.clear();
  element('log').replaceChildren();
  for (const id of ['instance', 'key']) element(id).textContent = '–';
  element('live').textContent = 'off';
  element('elsewhere').hidden = true;
  element('again').hidden = true;
  element('message').focus();
}

/** Shows a message, by its own response (with a route) or by its event. */
function show(message, route) {
  let item = items.get(message.number);
  if (item === undefined) {
    item = document.createElement('li');
    item.append(line('said', 'You', message.message), line('reply', 'Tandem', message.reply), line('why', '', ''));
    items.set(message.number, item);
    element('log').append(item);
  }
  const why = item.querySelector('.why');
  if (route) {
    why.textContent = explain(route);
    note(route);
  } else if (why.textContent === '') {
    why.textContent = 'as a live event';
  }
  element('scroll').scrollTop = element('scroll').scrollHeight;
}

function line(kind, who, text) {
  const paragraph = document.createElement('p');
  paragraph.className = kind;
  if (who) {
    const name = document.createElement('b');
    name.textContent = who;
    paragraph.append(name, ' ');
  }
  paragraph.append(text);
  return paragraph;
}

function explain(route) {
  if (!route.instance) return 'the gateway hides its routing (expose_routing = false)';
  const took = route.ms ? `, ${Number(route.ms).toFixed(1)} ms` : '';
  return `served by ${route.instance}: ${route.verdict}, ${REASONS[route.verdict] ?? ''}${took}`;
}

function note(route) {
  element('instance').textContent = route.instance ?? 'hidden';
  element('key').textContent = route.key ?? 'hidden';
}

function fail(error) {
  const place = element('failure');
  place.replaceChildren(error.message);
  if (error.page) {
    const link = document.createElement('a');
    link.href = error.page;
    link.textContent = 'Cause and cure';
    place.append(' ', link);
  }
  if (error.code === 'session_not_found') reset();
}

/** Runs one action of a button at a time, and shows its failure. */
async function run(button, action) {
  button.disabled = true;
  element('failure').replaceChildren();
  try {
    await action();
  } catch (error) {
    fail(error);
  } finally {
    button.disabled = false;
  }
}

element('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const field = element('message');
  const text = field.value;
  run(event.submitter ?? event.target.querySelector('[type=submit]'), async () => {
    await say(text);
    field.value = '';
    field.focus();
  });
});
element('again').addEventListener('click', reset);

// ---- the comparison

async function compare() {
  if (session === null) await open();
  const [stateless, stateful] = [[], []];
  for (let sent = 0; sent < COMPARED; sent += 1) {
    stateless.push((await request('GET', INFO)).route.instance ?? 'hidden');
    stateful.push((await request('GET', `${SESSIONS}/${session}`)).route.instance ?? 'hidden');
  }
  element('spread').replaceChildren(row('Stateless', stateless), row('One session', stateful));
}

function row(title, instances) {
  const names = [...new Set(instances)].sort();
  const list = document.createElement('ol');
  list.setAttribute('aria-label', `Instances of the ${COMPARED} requests: ${title}`);
  for (const instance of instances) {
    const item = document.createElement('li');
    item.className = `shade-${names.indexOf(instance) % 3}`;
    item.textContent = instance;
    list.append(item);
  }
  const summary = document.createElement('p');
  summary.textContent = `${title}: ${names.length === 1 ? 'one instance' : `${names.length} instances`}`;
  const place = document.createElement('div');
  place.append(summary, list);
  return place;
}

element('compare').addEventListener('click', (event) => run(event.currentTarget, compare));

// ---- what runs on this machine

async function showLocal() {
  if (!['localhost', '127.0.0.1', '[::1]'].includes(location.hostname)) return;
  const { control, prometheus } = (await request('GET', '/local.json')).content;
  const links = [];
  if (control) links.push(['Control plane: pools, instances, shares of keys', `${control}/control/v1/pools`]);
  if (prometheus) links.push(['Prometheus', prometheus]);
  for (const [title, url] of links) {
    const link = document.createElement('a');
    link.href = url;
    link.textContent = title;
    const item = document.createElement('li');
    item.append(link);
    element('local-links').append(item);
  }
  element('local').hidden = links.length === 0;
}

showLocal().catch(fail);
