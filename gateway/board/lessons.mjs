// Lessons: predict, then reveal. The driver runs one at a time, so every board shows the same; the one with the token takes
// its steps. What is not revealed yet is not on the page. Without a driver, as in production, nothing of this is here.

import { token } from './controls.mjs';
import { make } from './panels.mjs';
import { changes } from './poll.mjs';

const LESSONS = '/control/v1/lessons';
const LESSON = '/control/v1/lesson';
const SVG = 'http://www.w3.org/2000/svg';
/** How often a lesson that runs is asked for, and whether one does: with the controls unlocked, and locked. */
const RUNNING_MS = 500;
const UNLOCKED_MS = 2_000;
const LOCKED_MS = 8_000;

const UNITS = { percent: '%', ms: 'ms', per_request: 'a request' };
const OVER = ['finished', 'stopped', 'failed'];

/** Where a lesson would run, in words. */
export function placeOf({ place, needs, about_s: seconds }) {
  if (place === 'unavailable') return 'cannot run here: it needs a local stack';
  const where = place === 'running_system' ? 'on this system' : 'on a system of its own';
  const why = place === 'own_system' && needs !== 'a system of its own' ? `, since it needs ${needs}` : '';
  return `${where}${why}, about ${seconds} s`;
}

/** What a lesson does or waits for, in words. */
export function stateOf({ phase, activity, hidden, holds, detail, traffic_paused: paused }) {
  const others = paused ? '; the traffic is paused meanwhile' : '';
  switch (phase) {
    case 'starting': return 'It begins.';
    case 'predict': return 'What do you predict?';
    case 'measuring': return activity ? `It ${activity}${others}.` : `It begins to measure${others}.`;
    case 'reveal': return hidden ? `Everything is as before. Hidden: ${hidden} ${hidden === 1 ? 'number' : 'numbers'}.` : 'What do the numbers show?';
    case 'finished': return holds ? '✓ The prediction holds.' : '✗ The prediction does not hold.';
    case 'stopping': return 'Stopped: it puts everything back.';
    case 'stopped': return 'Stopped. Everything is as before.';
    default: return detail ?? 'It failed.';
  }
}

/** What the next step does; nothing where none waits. */
export function nextOf({ phase, hidden }) {
  if (phase === 'predict') return 'Measure';
  if (phase === 'reveal') return hidden ? 'Reveal a number' : 'Explain';
  return null;
}

const digits = (value) => value.toFixed(1);

/** A number of a lesson, in words: predicted, measured, and the sample. */
export function wordsOf({ unit, predicted, measured, sample }) {
  const sign = UNITS[unit] ?? '';
  const tolerance = predicted?.tolerance ? ` ± ${digits(predicted.tolerance)}` : '';
  return {
    predicted: predicted ? `${digits(predicted.value)}${tolerance} ${sign}` : null,
    measured: `${digits(measured)} ${sign}`,
    of: sample === undefined ? null : String(sample),
  };
}

/** The share that a guess names, in percent; nothing if it names none, or more than one. */
export function shareOf(guess) {
  const number = '(\\d+(?:[.,]\\d+)?)';
  const value = (text) => Number(text.replace(',', '.'));
  const [, part, whole] = new RegExp(`^\\s*${number}\\s*/\\s*${number}\\s*$`).exec(guess) ?? [];
  const [, percent] = new RegExp(`^\\s*${number}\\s*%\\s*$`).exec(guess) ?? [];
  const share = percent === undefined ? (100 * value(part ?? '')) / value(whole ?? '') : value(percent);
  return share >= 0 && share <= 100 ? share : null;
}

/** What a bar of a share draws, as [class, from, to] in percent: the tolerance behind, the prediction in front. */
export function barsOf(measured, predicted) {
  const within = (value) => Math.min(100, Math.max(0, value));
  const bars = [['measured', 0, within(measured)]];
  if (!predicted) return bars;
  const { value, tolerance } = predicted;
  const mark = within(Math.min(value, 99.4));
  return [['tolerance', within(value - tolerance), within(value + tolerance)], ...bars, ['predicted', mark, mark + 0.6]];
}

function bar(measured, predicted, kind = '') {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 100 10');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('class', `share ${kind}`);
  // The numbers are beside it.
  svg.setAttribute('aria-hidden', 'true');
  for (const [name, from, to] of barsOf(measured, predicted)) {
    const rect = document.createElementNS(SVG, 'rect');
    const height = name === 'measured' ? [2, 6] : [0, 10];
    for (const [key, value] of Object.entries({ class: name, x: from, width: to - from, y: height[0], height: height[1] })) rect.setAttribute(key, value);
    svg.append(rect);
  }
  return svg;
}

function number(finding) {
  const words = wordsOf(finding);
  const item = make('li', finding.holds ? '' : 'off');
  const head = make('p', 'what', finding.what);
  if (words.predicted) head.append(make('span', 'sign', finding.holds ? ' ✓ holds' : ' ✗ does not hold'));
  const facts = make('dl');
  for (const [name, text] of Object.entries(words)) {
    if (text === null) continue;
    const fact = make('div', name);
    fact.append(make('dt', '', name), make('dd', '', text));
    facts.append(fact);
  }
  item.append(head, facts);
  if (finding.unit === 'percent') item.append(bar(finding.measured, finding.predicted));
  return item;
}

function guessOf(guess) {
  const item = make('li', 'guess');
  const head = make('p', 'what', 'The class said: ');
  head.append(make('bdi', '', guess));
  item.append(head);
  const share = shareOf(guess);
  if (share !== null) item.append(bar(share, null, 'of-class'));
  return item;
}

/** Mounts the list and the lesson that runs; `report` shows a failure. */
export function mount({ panel, summary, notice, short, list, stage, number: place, title, question, state, theory, numbers, explanation, form, guess, next, stop }, { report }) {
  let known = null;
  let isAbsent = false;
  const steps = changes();
  /** Whether this board started the lesson, and so gets the focus with its question. */
  let isMine = false;
  let drawn = '';

  async function request(method, path, body) {
    const headers = method === 'GET' ? {} : { Authorization: `Bearer ${token()}` };
    if (body) headers['Content-Type'] = 'application/json';
    const response = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
    if (response.ok) return response.json();
    const problem = await response.json().catch(() => ({}));
    throw new Error(problem.detail ?? `The gateway returned ${response.status}.`);
  }

  async function change(method, path, body) {
    if (steps.isWaiting()) return;
    steps.begin();
    report('');
    let lessons = null;
    try {
      lessons = await request(method, path, body);
    } catch (error) {
      isMine = false;
      report(error instanceof TypeError ? 'The gateway did not respond; the lesson may have gone on.' : error.message);
    }
    steps.end();
    if (lessons) show(lessons);
  }

  function entry(lesson) {
    const item = make('li', lesson.place === 'unavailable' ? 'absent' : '');
    const start = make('button', 'quiet small', 'Start');
    start.type = 'button';
    start.setAttribute('aria-label', `Start lesson ${lesson.number}: ${lesson.title}`);
    start.dataset.absent = lesson.place === 'unavailable';
    start.addEventListener('click', () => {
      if (steps.isWaiting()) return;
      isMine = true;
      change('POST', `${LESSONS}/${encodeURIComponent(lesson.name)}`, { short: short.checked });
    });
    const text = make('div');
    text.append(make('p', '', `${lesson.number}. ${lesson.title}`), make('p', 'soft', placeOf(lesson)));
    item.append(text, start);
    return item;
  }

  function lesson(run) {
    stage.hidden = !run;
    if (!run) { isMine = false; return; }
    stage.dataset.phase = run.phase;
    const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
    write(place, `Lesson ${run.number}${run.short ? ', short' : ''}`);
    write(title, run.title);
    write(question, run.question);
    write(state, stateOf(run));
    state.dataset.holds = run.holds ?? '';
    write(theory, run.theory ? `Theory: ${run.theory}` : '');
    const shown = [run.name, run.guess, run.findings.length, run.phase === 'predict'].join(' ');
    if (numbers.dataset.shown !== shown) {
      numbers.dataset.shown = shown;
      numbers.replaceChildren(...(run.guess ? [guessOf(run.guess)] : []), ...run.findings.map(number));
      numbers.lastChild?.scrollIntoView?.({ block: 'nearest' });
    }
    const paragraphs = [run.system && run.explanations.length ? `Measured on ${run.system}.` : '', ...run.explanations].filter(Boolean);
    if (explanation.textContent !== paragraphs.join('')) explanation.replaceChildren(...paragraphs.map((text) => make('p', '', text)));
    const label = nextOf(run);
    guess.parentElement.hidden = run.phase !== 'predict';
    // It keeps the focus while it waits: a disabled one would lose it.
    const hadFocus = document.activeElement === next;
    next.hidden = OVER.includes(run.phase);
    next.setAttribute('aria-disabled', String(!label));
    write(next, label ?? 'Wait …');
    stop.disabled = run.phase === 'stopping';
    write(stop, [...OVER, 'reveal'].includes(run.phase) ? 'Close' : 'Stop, and put everything back');
    if (run.phase === 'predict' && isMine) {
      isMine = false;
      stage.scrollIntoView({ block: 'start' });
      guess.value = '';
      guess.focus();
    }
    if (next.hidden && hadFocus) stop.focus();
  }

  function show(lessons) {
    known = lessons;
    isAbsent = !lessons.driver;
    panel.hidden = isAbsent;
    if (isAbsent) return;
    const text = lessons.unavailable ?? lessons.left ?? '';
    if (notice.textContent !== text) notice.textContent = text;
    const entries = JSON.stringify(lessons.lessons);
    if (entries !== drawn) {
      drawn = entries;
      list.replaceChildren(...lessons.lessons.map(entry));
    }
    const isRunning = Boolean(lessons.run) && !['reveal', ...OVER].includes(lessons.run.phase);
    for (const start of list.querySelectorAll('button')) start.disabled = isRunning || start.dataset.absent === 'true';
    summary.textContent = lessons.run ? `Lessons: ${lessons.run.title}` : 'Lessons';
    lesson(lessons.run);
  }

  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const { run } = known ?? {};
    if (!run || !nextOf(run)) return;
    const said = run.phase === 'predict' ? guess.value.trim() : '';
    if (run.phase === 'predict') next.focus();
    change('POST', LESSON, { step: run.step, ...(said ? { guess: said } : {}) });
  });
  stop.addEventListener('click', async () => {
    const isOver = ['reveal', ...OVER].includes(known?.run?.phase);
    await change('DELETE', LESSON);
    // The button is gone with the lesson.
    if (isOver && stage.hidden) summary.focus();
  });

  let isAsking = false;
  let askedAt = -Infinity;
  let had = token();
  async function follow() {
    const isRunning = known?.run && !OVER.includes(known.run.phase);
    const interval = isRunning ? RUNNING_MS : token() ? UNLOCKED_MS : LOCKED_MS;
    // At once when the controls are unlocked.
    const isDue = had !== token() || performance.now() - askedAt >= interval;
    // A driver does not come by itself.
    if (isAbsent || isAsking || !isDue) return;
    had = token();
    askedAt = performance.now();
    isAsking = true;
    const isNews = steps.poll();
    try {
      const lessons = await request('GET', LESSONS);
      if (isNews()) show(lessons);
    } catch {
      // A gateway or a driver that is away says so elsewhere; what is shown stays.
    }
    isAsking = false;
  }
  follow();
  setInterval(follow, 250);
}
