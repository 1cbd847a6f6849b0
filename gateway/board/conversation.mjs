// Be a client: one request at a time, as one of four people, and every header of the response that matters. The driver sends
// them: the page itself could neither leave its cookies away nor choose an address.

import { token } from './controls.mjs';
import { make } from './panels.mjs';
import { milliseconds } from './words.mjs';

const CONVERSATION = '/control/v1/conversation';
/** Exchanges that stay on the page. */
const KEPT = 12;

/** What a verdict means, for who sees it the first time. */
const VERDICTS = {
  home: 'the home of its key served it', new: 'it brought no key, so the gateway made a new one', failover: 'its home is away: the next in rank served it',
  spilled: 'its home is over its load bound', invalid: 'its key was malformed', off: 'the pool is not sticky: any instance serves it',
};

/** Why it was routed where it was, in words; empty without the header. */
export function reason(headers) {
  const stamp = headers.find(({ name }) => name === 'x-affinity')?.value;
  return VERDICTS[stamp?.split(';')[0].trim()] ?? '';
}

/** The key of an exchange, by the gateway's stamp. */
export function keyOf(headers) {
  return headers.find(({ name }) => name === 'x-affinity')?.value.match(/key=([0-9a-f]{8})/)?.[1] ?? null;
}

/** The first line of an exchange. */
export const title = ({ method, path, status, failure, duration_ms: duration }) =>
  `${method} ${path}: ${status ?? `no response, ${failure}`} after ${milliseconds(duration)}`;

/** Mounts the panel; `show` inspects a key, `report` shows a failure. `follow` is called with what tells whether a driver is there. */
export function mount({ panel, form, list }, { show, report }) {
  const { person, message, jar } = form.elements;

  function entry(who, exchanged) {
    const item = make('li', exchanged.status >= 400 || exchanged.failure ? 'bad' : '');
    const head = make('p', 'title', `${who}: ${title(exchanged)}`);
    item.append(head);
    const why = reason(exchanged.headers);
    if (why) item.append(make('p', 'why', why));
    const facts = make('dl');
    for (const [kind, headers] of [['sent', exchanged.sent], ['got', exchanged.headers]]) {
      for (const { name, value } of headers) {
        const fact = make('div', kind);
        fact.append(make('dt', '', kind === 'sent' ? `${name} (sent)` : name), make('dd', '', value));
        facts.append(fact);
      }
    }
    item.append(facts);
    if (exchanged.body) {
      const body = make('pre', '', exchanged.body);
      // It scrolls, so the keyboard must reach it.
      body.tabIndex = 0;
      body.setAttribute('aria-label', 'The beginning of the body');
      item.append(body);
    }
    const key = keyOf(exchanged.headers);
    if (key) {
      const explain = make('button', 'quiet small', `Where does ${key} go?`);
      explain.type = 'button';
      explain.addEventListener('click', () => show(key));
      item.append(explain);
    }
    return item;
  }

  async function act(button) {
    const { act: what } = button.dataset;
    if (what === 'say' && !form.reportValidity()) return;
    const body = { person: person.value, act: what, cookie_jar: jar.checked, ...(what === 'say' ? { message: message.value } : {}) };
    button.disabled = true;
    report('');
    try {
      const response = await fetch(CONVERSATION, {
        method: 'POST', body: JSON.stringify(body), headers: { Authorization: `Bearer ${token()}`, 'Content-Type': 'application/json' },
      });
      const conversation = await response.json();
      if (!response.ok) throw new Error(conversation.detail);
      for (const exchanged of conversation.exchanges) list.prepend(entry(conversation.person, exchanged));
      if (!conversation.exchanges.length) report(`${conversation.person} has no session: say something first.`);
      while (list.children.length > KEPT) list.lastChild.remove();
    } catch (error) {
      report(error instanceof TypeError ? 'The gateway did not respond.' : error.message);
    } finally {
      button.disabled = false;
      button.focus();
    }
  }

  form.addEventListener('submit', (event) => event.preventDefault());
  for (const button of form.querySelectorAll('button')) button.addEventListener('click', () => act(button));
  /** Shows the panel where there is a driver. */
  return (isThere) => { panel.hidden = !isThere; };
}
