// The page: events go into the state, the state goes onto the page.

import { draw } from './canvas.mjs';
import * as charts from './charts.mjs';
import * as classroom from './class.mjs';
import * as controls from './controls.mjs';
import * as conversation from './conversation.mjs';
import * as inspector from './inspector.mjs';
import * as lessons from './lessons.mjs';
import { legend, update } from './panels.mjs';
import { at, isMoving, scene } from './scene.mjs';
import { initial, reduce } from './state.mjs';
import { follow } from './stream.mjs';
import * as traffic from './traffic.mjs';

const PANELS_MS = 250;
const CHARTS_MS = 1_000;

const find = (id) => document.getElementById(id);
const byPool = (prefix) => ({ stateless: find(`${prefix}-stateless`), stateful: find(`${prefix}-stateful`) });
const page = {
  stage: find('stage'), canvas: find('dots'), clients: find('client-count'), total: find('total'), log: find('log'),
  connection: find('connection'), sampling: find('sampling'), strategy: byPool('strategy'), instances: byPool('instances'),
};
const still = matchMedia('(prefers-reduced-motion: reduce)');

let state = initial();
let places = null;
let look = null;
let chosen = null;

function dispatch(event) {
  state = reduce(state, event, performance.now());
  // At once, so that a change is seen with its first frame.
  if (event.type !== 'routed' && event.type !== 'tick') refresh();
}

/** Where the parts of the stage are, for the scene. */
function measure() {
  const origin = page.stage.getBoundingClientRect();
  const box = (element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return { x: x - origin.x, y: y - origin.y, width, height };
  };
  const cards = [...page.stage.querySelectorAll('.instance')];
  const seats = cards.flatMap((card) => {
    const found = card.querySelector('.seats');
    return found ? [[card.dataset.id, box(found)]] : [];
  });
  places = {
    clients: box(find('clients')),
    gateway: box(find('gateway')),
    instances: new Map(cards.map((card) => [card.dataset.id, box(card)])),
    seats: new Map(seats),
  };
  const style = getComputedStyle(page.canvas);
  look = { ink: style.color, back: style.outlineColor, size: Math.max(4.5, parseFloat(style.fontSize) * 0.42) };
}

function refresh() {
  const moved = update(page, state, performance.now());
  if (moved || !places) measure();
}

const picture = (now) => scene(state, places, now, { still: still.matches, seat: look.size * 1.7 });

let drawn = false;
function frame(now) {
  requestAnimationFrame(frame);
  const moving = isMoving(state, now);
  if (!places || (!moving && drawn)) return;
  draw(page.canvas, picture(now), { ...look, chosen });
  drawn = !moving;
}

async function requestPools() {
  if (!state.outdated) return;
  try {
    const response = await fetch('/control/v1/pools', { cache: 'no-store' });
    if (!response.ok) return;
    const { epoch } = state.pools.stateful ?? {};
    dispatch({ type: 'pools', ...(await response.json()) });
    if (epoch !== state.pools.stateful?.epoch) inspect.again();
  } catch {
    // The stream says that the gateway is away.
  }
}

function theme() {
  const button = find('theme');
  const apply = (chosen) => {
    if (chosen) document.documentElement.dataset.theme = chosen;
    else delete document.documentElement.dataset.theme;
    button.textContent = { light: 'Light', dark: 'Dark' }[chosen] ?? 'Auto';
    measure();
    drawn = false;
  };
  apply(localStorage.getItem('theme'));
  button.addEventListener('click', () => {
    const next = { light: 'dark', dark: '' }[localStorage.getItem('theme')] ?? 'light';
    if (next) localStorage.setItem('theme', next);
    else localStorage.removeItem('theme');
    apply(next);
  });
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => apply(localStorage.getItem('theme')));
}

legend(find('legend'));
const inspect = inspector.mount(
  { form: find('inspect'), input: find('key'), keys: find('keys'), result: find('explained') },
  (key) => { chosen = key; drawn = false; },
);
page.stage.addEventListener('click', (event) => {
  // Buttons and fields are for themselves.
  if (!places || event.target.closest('button, select, input')) return;
  const { x, y } = page.stage.getBoundingClientRect();
  const found = at(picture(performance.now()), { x: event.clientX - x, y: event.clientY - y });
  if (found) inspect.show(found.key, found.request);
});
const updateControls = controls.mount({
  unlock: find('unlock'), dialog: find('ask'), form: find('ask-form'), input: find('token'), cancel: find('ask-cancel'),
  failure: find('failure'), selects: byPool('choose'), adds: byPool('add'), lists: page.instances,
  scalers: byPool('scale'),
});
const updateClass = classroom.mount({
  panel: find('class'), qr: find('class-qr'), address: find('class-address'), code: find('class-code'), count: find('class-count'),
  missed: find('class-missed'), enlarge: find('class-enlarge'), reset: find('class-reset'), large: find('class-large'),
  cards: page.instances.stateful,
}, { show: (key) => inspect.show(key), report: (text) => { find('failure').textContent = text; } });
const report = (text) => { find('failure').textContent = text; };
const showConversation = conversation.mount(
  { panel: find('conversation'), form: find('conversation-form'), list: find('exchanges') },
  { show: (key) => inspect.show(key), report },
);
traffic.mount({
  panel: find('traffic'), form: find('traffic-form'), fields: find('traffic-fields'), state: find('traffic-state'),
  figures: find('traffic-figures'), stop: find('traffic-stop'),
}, { report, found: showConversation });
lessons.mount({
  panel: find('lab'), summary: find('lab').querySelector('summary'), notice: find('lessons-notice'), short: find('lessons-short'), list: find('lessons'),
  stage: find('lesson'), number: find('lesson-number'), title: find('lesson-title'), question: find('lesson-question'), state: find('lesson-state'),
  theory: find('lesson-theory'), numbers: find('lesson-numbers'), explanation: find('lesson-explanation'), form: find('lesson-form'),
  guess: find('guess'), next: find('lesson-next'), stop: find('lesson-stop'),
}, { report });
const updateCharts = charts.mount(find('charts'));
theme();
new ResizeObserver(() => { measure(); drawn = false; }).observe(page.stage);
setInterval(() => {
  dispatch({ type: 'tick' });
  refresh();
  updateControls(state);
  updateClass(state);
  inspect.offer(state.sessions);
  measure();
  drawn = false;
  requestPools();
}, PANELS_MS);
setInterval(() => updateCharts(state, performance.now()), CHARTS_MS);
requestAnimationFrame(frame);
follow(dispatch, { token: controls.token });
