// The page of one person in a class: a session of one's own, and where each request of it went.

const SESSIONS = '/api/v1/stateful/sessions';
const KEPT = 'tandem-class';
const PAST = 12;
const MOST_WAIT_S = 10;
// How often the page looks at its session by itself.
const WATCH_MS = 3_000;

const REASONS = {
  home: 'home: the first choice for your key',
  new: 'new: your key was drawn just now, and this is its home',
  failover: 'failover: your home is down, so the next in rank',
  spilled: 'spilled: your home has too much load, so the next in rank',
  invalid: 'your key was malformed, so a new one was drawn',
  off: 'round robin: whoever is next',
};
const SOURCES = {
  memory: 'the memory of the instance',
  redis: 'Redis',
  created: 'just created',
};
const SHAPES = {
  circle: 'M50 5a45 45 0 1 0 .1 0z',
  square: 'M10 10h80v80h-80z',
  triangle: 'M50 6l46 84h-92z',
  diamond: 'M50 3l47 47-47 47-47-47z',
  star: 'M50 4l13 32 34 3-26 22 8 34-29-18-29 18 8-34-26-22 34-3z',
  cross: 'M36 6h28v30h30v28h-30v30h-28v-30h-30v-28h30z',
};
const WORDS = ['Hello', 'Is anybody there?', 'Remember me', 'Still here', 'What a room', 'One more', 'Tandem!'];

const element = (id) => document.getElementById(id);
// Id, nickname, code, and how many messages were last remembered. The id is a secret of this page.
let session = load();
let busy = false;
// Number of the latest action, so that a look which began before it shows nothing.
let actions = 0;

function load() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT));
  } catch {
    return null;
  }
}

function keep(value) {
  session = value;
  if (value === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, JSON.stringify(value));
}

// ---- requests

class Problem extends Error {
  constructor(status, document) {
    super(document?.detail ? `${document.title}: ${document.detail}` : `The system responded with ${status}.`);
    this.status = status;
    this.code = document?.code;
  }
}

async function once(method, path, headers, body) {
  const response = await fetch(path, { method, headers, body, cache: 'no-store' });
  const content = response.status === 204 ? null : await response.json().catch(() => null);
  if (response.ok) return { content, route: routeOf(response.headers) };
  const problem = new Problem(response.status, content);
  problem.route = routeOf(response.headers);
  problem.wait = Number(response.headers.get('Retry-After'));
  throw problem;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

/** Sends a request, and repeats it, a write under its key, while the system is busy or out of reach. */
async function request(method, path, code, content) {
  const headers = { 'X-Class-Code': code };
  if (content !== undefined) headers['Content-Type'] = 'application/json';
  if (method === 'POST') headers['Idempotency-Key'] = crypto.randomUUID();
  for (let attempt = 1; ; attempt += 1) {
    let wait = Math.min(attempt, 5);
    try {
      return await once(method, path, headers, JSON.stringify(content));
    } catch (error) {
      if (error instanceof Problem) {
        if (![429, 502, 503, 504].includes(error.status)) throw error;
        wait = Math.min(error.wait || wait, MOST_WAIT_S);
        say(`${error.message} Trying again …`);
      } else {
        say('No connection. Trying again …');
      }
    }
    // So that a room does not come back all at once.
    await pause(1000 * wait * (0.75 + Math.random() / 2));
  }
}

// ---- what is shown

/** Sets a text if it is another one: a screen reader reads each change. */
function write(id, text) {
  if (element(id).textContent !== String(text)) element(id).textContent = text;
}

const say = (text) => write('status', text);

/** The shape of an instance, by the number in its name. */
function shapeOf(instance) {
  const names = Object.keys(SHAPES);
  const number = Number(/(\d+)$/.exec(instance ?? '')?.[1] ?? 0);
  return names[(number + names.length - 1) % names.length];
}

function routeOf(headers) {
  const verdict = (headers.get('X-Affinity') ?? '').split(';')[0].trim();
  return { instance: headers.get('X-Served-By'), verdict, source: headers.get('X-Session-Source') };
}

function showRoute({ instance, verdict }) {
  const shape = shapeOf(instance);
  element('card').dataset.shape = shape;
  element('shape').setAttribute('d', SHAPES[shape]);
  write('instance', instance ?? 'hidden');
  write('why', REASONS[verdict] ?? 'hidden');
}

/** A response about the session, which is as the instance says. */
function showFound({ content, route }) {
  keep({ ...session, count: content.message_count });
  showRoute(route);
  write('count', session.count);
  write('source', SOURCES[route.source] ?? route.source ?? '–');
  element('lost').hidden = true;
}

/** The instance knows no such session: what that means. */
function showLost(route) {
  const { count } = session;
  showRoute(route);
  write('count', 0);
  write('source', 'nowhere: there is none');
  write('lost-title', `${route.instance ?? 'This instance'} does not know you.`);
  write('lost-text', count === 0
    ? 'Either your session is at another instance, or it was ended.'
    : `${count === 1 ? 'Your message is' : `Your ${count} messages are`} at another instance, or lost with it, or ended.`);
  element('lost').hidden = false;
}

/** Adds an instance to those of the latest messages; one that did not know the session asks. */
function remember(instance, isKnown) {
  const item = document.createElement('li');
  item.dataset.shape = shapeOf(instance);
  item.textContent = isKnown ? instance ?? '?' : `${instance ?? '?'}: who?`;
  item.classList.toggle('unknown', !isKnown);
  element('past').prepend(item);
  while (element('past').children.length > PAST) element('past').lastChild.remove();
}

function showRoom() {
  element('join').hidden = session !== null;
  element('room').hidden = session === null;
  element('lost').hidden = true;
  say('');
  if (session === null) return;
  write('name', session.nickname);
  write('key', session.id.slice(0, 8));
  write('count', session.count);
}

// ---- what a person does

async function join(nickname, code) {
  const created = await request('POST', SESSIONS, code, { client_data: { nickname } });
  keep({ id: created.content.session_id, nickname, code, count: 0 });
  element('past').replaceChildren();
  write('reply', '');
  showRoom();
  showFound(created);
  element('say').focus();
}

async function talk() {
  const message = WORDS[session.count % WORDS.length];
  const posted = await request('POST', `${SESSIONS}/${session.id}/messages`, session.code, { message });
  say('');
  showFound(posted);
  write('reply', posted.content.reply);
  remember(posted.route.instance, true);
}

async function leave() {
  const { id, code } = session;
  keep(null);
  showRoom();
  element('nickname').focus();
  await request('DELETE', `${SESSIONS}/${id}`, code).catch(() => {});
}

function showFailure(error) {
  if (error.code === 'session_not_found') {
    write('reply', '');
    remember(error.route.instance, false);
    return showLost(error.route);
  }
  if (error.code === 'wrong_class_code') {
    keep(null);
    showRoom();
    element('code').focus();
  }
  say(error.message);
}

/** Runs one action at a time. The buttons stay enabled, since a disabled one loses the focus. */
async function run(action) {
  if (busy) return;
  busy = true;
  actions += 1;
  const buttons = document.querySelectorAll('button');
  for (const button of buttons) button.setAttribute('aria-disabled', 'true');
  try {
    await action();
  } catch (error) {
    showFailure(error);
  } finally {
    busy = false;
    for (const button of buttons) button.removeAttribute('aria-disabled');
  }
}

/** Looks at the session by itself: whoever is next may not know it. */
async function look() {
  if (session === null || busy || document.hidden) return;
  const began = actions;
  const path = `${SESSIONS}/${session.id}`;
  const seen = await once('GET', path, { 'X-Class-Code': session.code }).catch((error) => error);
  if (began !== actions) return;
  if (seen.content) showFound(seen);
  else if (seen.code === 'session_not_found') showLost(seen.route);
  else if (seen.code === 'wrong_class_code') showFailure(seen);
}

async function watch() {
  for (;;) {
    await look();
    await pause(WATCH_MS);
  }
}

element('join').addEventListener('submit', (event) => {
  event.preventDefault();
  const nickname = element('nickname').value.trim();
  if (nickname === '') return say('A nickname has at least one character.');
  return run(() => join(nickname, element('code').value.toUpperCase()));
});
element('say').addEventListener('click', () => run(talk));
element('leave').addEventListener('click', () => run(leave));
element('again').addEventListener('click', () => run(() => join(session.nickname, session.code)));

// The code is in the fragment, which no server sees.
const code = /^#([A-Za-z]{6})$/.exec(location.hash)?.[1];
if (code) element('code').value = code.toUpperCase();
showRoom();
if (session === null) element(code ? 'nickname' : 'code').focus();
watch();
