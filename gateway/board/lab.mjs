// The processes behind the instances, where a local stack's agent is there: the gateway passes kills, starts and scaling
// on to it. Without an agent, as in production, nothing of this is on the page.

import { make } from './panels.mjs';
import { POOLS } from './state.mjs';

const LAB = '/control/v1/lab';
/** How often the processes are asked for, while the controls are unlocked. */
const FOLLOW_MS = 2_000;

/** The changes that a process in this state allows: [label, method, URL of an instance's change, body, whether to confirm]. */
export function changesOf(process) {
  const act = (action) => (_, name) => `${LAB}/instances/${encodeURIComponent(name)}/${action}`;
  if (process === 'running') return [['Kill', 'POST', act('kill')], ['Stop', 'POST', act('stop')]];
  return ['killed', 'stopped', 'died'].includes(process) ? [['Start', 'POST', act('start')]] : [];
}

/** The processes by name, and how many each pool has. */
export function processesOf(lab) {
  const states = new Map(lab.instances.map(({ name, state }) => [name, state]));
  const count = (pool) => lab.instances.filter((one) => one.pool === pool).length;
  return { states, counts: Object.fromEntries(POOLS.map((pool) => [pool, count(pool)])), most: lab.most_instances };
}

let asked = null;

/** What the gateway knows of the lab; nothing when it does not respond. Who asks within a second gets the same response. */
export function read() {
  const now = performance.now();
  if (!asked || now - asked.at > FOLLOW_MS / 2) {
    const lab = fetch(LAB, { cache: 'no-store' }).then((response) => (response.ok ? response.json() : null)).catch(() => null);
    asked = { at: now, lab };
  }
  return asked.lab;
}

/** Keeps what the agent knows while `isOpen`. `change` sends a change, and returns whether it was made. */
export function mount({ scalers, isOpen, change }) {
  let known = null;
  let isAbsent = false;

  async function ask() {
    if (isAbsent || !isOpen()) return;
    const reading = read();
    const lab = await reading;
    // After a change, a newer one is on its way.
    if (asked?.lab !== reading) return;
    // Asked for once: an agent does not come by itself.
    isAbsent = lab?.agent === false;
    known = lab?.agent ? processesOf(lab) : null;
  }

  async function scale(pool, by, buttons) {
    if (!known) return;
    for (const button of buttons) button.disabled = true;
    await change('PUT', `${LAB}/pools/${pool}/scale`, { instances: known.counts[pool] + by });
    asked = null;
    await ask();
    show(pool);
  }

  const parts = Object.fromEntries(POOLS.map((pool) => {
    const [less, count, more] = [make('button', 'quiet small', '−'), make('output', '', '–'), make('button', 'quiet small', '+')];
    for (const [button, by, label] of [[less, -1, 'One instance less'], [more, 1, 'One instance more']]) {
      button.type = 'button';
      button.setAttribute('aria-label', `${label} in the ${pool} pool`);
      button.addEventListener('click', () => scale(pool, by, [less, more]));
    }
    scalers[pool].append(make('span', '', 'Processes'), less, count, more);
    return [pool, { less, count, more }];
  }));

  function show(pool) {
    scalers[pool].hidden = !known;
    if (!known) return;
    const { less, count, more } = parts[pool];
    count.textContent = known.counts[pool];
    less.disabled = known.counts[pool] <= 1;
    more.disabled = known.counts[pool] >= known.most;
  }

  for (const pool of POOLS) show(pool);
  setInterval(async () => { await ask(); POOLS.forEach(show); }, FOLLOW_MS);

  return {
    /** Asks at once, such as when the controls are unlocked or a change was made. */
    async refresh() { asked = null; await ask(); POOLS.forEach(show); },
    /** The state of an instance's process, if it is known. */
    process: (name) => known?.states.get(name),
  };
}
