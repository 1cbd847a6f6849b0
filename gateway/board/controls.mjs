// What changes the gateway. Each control is an operation of the control API, and needs the token, which the page keeps
// for this tab alone.

import * as lab from './lab.mjs';
import { isConfirmed, make } from './panels.mjs';
import { POOLS } from './state.mjs';
import { strategyName } from './words.mjs';

const TOKEN = 'control-token';
const DRAIN_S = 30;

export const token = () => sessionStorage.getItem(TOKEN);

/** The strategies that the gateway's document names. */
export function strategiesOf(document) {
  const { enum: names, oneOf } = document?.components?.schemas?.Strategy ?? {};
  return names ?? oneOf?.map((one) => one.const ?? one.enum?.[0]) ?? [];
}

/** The changes that an instance in this state allows: [label, method, its URL, body, whether to confirm]. */
export function changesOf(state) {
  const drains = ['draining', 'drained'].includes(state);
  const below = (path) => (pool, name) => `/control/v1/pools/${pool}/instances/${encodeURIComponent(name)}${path}`;
  return [
    drains ? ['Undrain', 'POST', below('/undrain')] : ['Drain', 'POST', below('/drain'), { deadline_s: DRAIN_S }],
    ['Remove', 'DELETE', below(''), undefined, true],
  ].filter(([label]) => label === 'Remove' || !['pending', 'duplicate_name', 'wrong_instance'].includes(state));
}

/** A change that missed other gateways, in words; nothing if it missed none. */
export function missedInWords({ missed = [] }) {
  return missed.map(({ gateway, cause }) => `Gateway ${gateway} was missed: ${cause}. Make the change again when it is back.`).join(' ');
}

export function mount({ unlock, dialog, form, input, cancel, failure, selects, adds, lists, scalers }) {
  let strategies = [];

  function lock(locked) {
    document.documentElement.classList.toggle('unlocked', !locked);
    unlock.textContent = locked ? 'Unlock controls' : 'Lock controls';
    if (locked) return;
    processes.refresh();
    fetch('/control/v1/openapi.json').then((response) => response.json()).then((found) => { strategies = strategiesOf(found); })
      .catch(() => { strategies = ['sticky', 'round_robin']; });
  }

  function report(text) {
    failure.textContent = text;
  }

  async function change(method, url, body) {
    report('');
    const headers = { Authorization: `Bearer ${token()}` };
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    try {
      const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
      if (response.ok) {
        // A removal has no body.
        report(missedInWords(await response.json().catch(() => ({}))));
        return true;
      }
      const problem = await response.json().catch(() => ({}));
      if (response.status === 401) {
        sessionStorage.removeItem(TOKEN);
        lock(true);
      }
      report(problem.detail ?? `The gateway returned ${response.status}.`);
    } catch {
      report('The gateway did not respond; what is shown here may be old.');
    }
    return false;
  }

  unlock.addEventListener('click', () => {
    if (token()) {
      sessionStorage.removeItem(TOKEN);
      lock(true);
    } else {
      input.value = '';
      dialog.showModal();
    }
  });
  cancel.addEventListener('click', () => dialog.close());
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const given = input.value.trim();
    input.value = '';
    dialog.close();
    if (!given) return;
    sessionStorage.setItem(TOKEN, given);
    report('');
    lock(false);
  });

  for (const pool of POOLS) {
    selects[pool].addEventListener('change', async () => {
      await change('PUT', `/control/v1/pools/${pool}/strategy`, { strategy: selects[pool].value });
      // What is true comes with the stream; until then the control must not claim it.
      selects[pool].blur();
    });
    adds[pool].addEventListener('submit', async (event) => {
      event.preventDefault();
      const field = adds[pool].querySelector('input');
      const addr = field.value.trim();
      if (addr && await change('POST', `/control/v1/pools/${pool}/instances`, { addr })) field.value = '';
    });
    lists[pool].addEventListener('click', ({ target }) => {
      if (target.dataset.method) act(target);
    });
  }

  async function act(button) {
    const { method, url, body, confirm } = button.dataset;
    if (confirm && !isConfirmed(button, 'Really remove?')) return;
    button.disabled = true;
    await change(method, url, body && JSON.parse(body));
    await processes.refresh();
    button.disabled = false;
  }

  const processes = lab.mount({ scalers, isOpen: () => Boolean(token()), change });
  lock(!token());

  /** Brings the controls up to date with the pools. */
  return (state) => {
    if (!token()) return;
    for (const pool of POOLS) {
      const known = state.pools[pool];
      if (!known) continue;
      const names = [...new Set([...strategies, known.strategy])];
      const select = selects[pool];
      if (names.join() !== [...select.options].map(({ value }) => value).join()) {
        select.replaceChildren(...names.map((name) => {
          const option = make('option', '', strategyName(name));
          option.value = name;
          return option;
        }));
      }
      if (document.activeElement !== select && select.value !== known.strategy) select.value = known.strategy;
      for (const card of lists[pool].children) buttons(pool, card, processes.process(card.dataset.id));
    }
  };
}

function buttons(pool, card, process) {
  const row = card.querySelector('.acts');
  const { id, state } = card.dataset;
  const shown = `${state} ${process ?? ''}`;
  if (row.dataset.shown === shown) return;
  row.dataset.shown = shown;
  const wanted = [...changesOf(state), ...lab.changesOf(process)];
  row.replaceChildren(...wanted.map(([label, method, url, body, confirm]) => {
    const button = make('button', 'quiet small', label);
    button.type = 'button';
    button.setAttribute('aria-label', `${label} ${id}`);
    Object.assign(button.dataset, { method, url: url(pool, id), ...(body ? { body: JSON.stringify(body) } : {}), ...(confirm ? { confirm } : {}) });
    return button;
  }));
}
