// The state of the board, as a pure function of the events so far: reduce(state, event, now) returns the next state
// and changes nothing that it was given. `now` is in milliseconds.

import { membersOf, moved, placeOf, sampleKeys } from './rendezvous.mjs';
import { kindOf } from './verdicts.mjs';
import { membership, mood, sentence, watching } from './words.mjs';

export const POOLS = ['stateless', 'stateful'];
/** How long the charts look back, in seconds. */
export const HISTORY_S = 300;
/** How long a dot travels, at most. */
export const DOT_MS = 2_500;
const MAX_DOTS = 400;
/** Sessions are the keys of recent requests. */
export const MAX_SESSIONS = 300;
const SESSION_MS = 120_000;
const MAX_LOG = 100;
/** A drain progresses with each health check; the log has its beginning and its end. */
const SAMPLE = sampleKeys(1_000);
/** The window over which sampling is measured. */
const SAMPLING_MS = 5_000;

const perPool = (value) => Object.fromEntries(POOLS.map((pool) => [pool, value(pool)]));

export function initial() {
  return {
    connection: { phase: 'connecting', detail: '', since: 0 },
    pools: perPool(() => null),
    rates: perPool(() => null),
    history: perPool(() => []),
    dots: [],
    sessions: new Map(),
    sampled: [],
    log: [],
    logged: 0,
    // The pools on the page are older than the gateway's: they should be requested.
    outdated: false,
  };
}

export function reduce(state, event, now) {
  switch (event.type) {
    case 'connection': return connected(state, event, now);
    case 'pools': return withPools(state, event.pools, now);
    case 'routed': return routed(state, event, now);
    case 'rates': return rated(state, event, now);
    case 'tick': return aged(state, now);
    case 'drain_progressed': return drained(state, event, now);
    case 'missed': return { ...said(state, event, now), outdated: true };
    case 'strategy_changed': {
      const pool = state.pools[event.pool];
      const next = said(state, event, now);
      return pool ? { ...next, pools: { ...state.pools, [event.pool]: { ...pool, strategy: event.strategy } } } : next;
    }
    case 'instance_changed':
    case 'instance_added':
    case 'instance_removed':
      return { ...said(withInstance(state, event), event, now), outdated: true };
    default: return said(state, event, now);
  }
}

/** How many requests each shown one stands for: 1 when all are shown. */
export function sampling({ sampled }) {
  const all = sampled.reduce((sum, { weight }) => sum + weight, 0);
  return sampled.length ? all / sampled.length : 1;
}

/** Requests per second of a pool. */
export const perSecond = ({ requests, interval_ms: interval }) => (requests * 1000) / Math.max(interval, 1);

function connected(state, { phase, detail = '' }, now) {
  if (state.connection.phase === phase && state.connection.detail === detail) return state;
  return { ...state, connection: { phase, detail, since: now } };
}

function line(state, text, kind, now) {
  const entry = { id: state.logged, at: now, text: text[0].toUpperCase() + text.slice(1), kind };
  return { ...state, log: [entry, ...state.log].slice(0, MAX_LOG), logged: state.logged + 1 };
}

function said(state, event, now) {
  const text = sentence(event);
  return text ? line(state, text, mood(event), now) : state;
}

/** The state of one instance, known before the pools are requested again. */
function withInstance(state, event) {
  const pool = state.pools[event.pool];
  if (!pool || event.type !== 'instance_changed') return state;
  const instances = pool.instances.map((instance) => (
    instance.addr === event.addr ? { ...instance, state: event.state, last_error: event.detail } : instance));
  return { ...state, pools: { ...state.pools, [event.pool]: { ...pool, instances } } };
}

function drained(state, event, now) {
  const pool = state.pools[event.pool];
  if (!pool) return state;
  const instances = pool.instances.map((instance) => (instance.name === event.instance
    ? { ...instance, state: event.state, drain: { ...instance.drain, seconds_left: event.seconds_left } }
    : instance));
  return { ...state, pools: { ...state.pools, [event.pool]: { ...pool, instances } } };
}

function withPools(state, pools, now) {
  let next = { ...state, outdated: false };
  if (POOLS.every((name) => state.pools[name] === null)) next = line(next, watching(pools), 'plain', now);
  for (const pool of pools) {
    const before = state.pools[pool.name];
    next = { ...next, pools: { ...next.pools, [pool.name]: pool } };
    if (before && before.epoch !== pool.epoch && pool.name === 'stateful') {
      const [old, members] = [membersOf(before.instances), membersOf(pool.instances)];
      next = line(next, membership(pool.name, old, members, moved(old, members, SAMPLE)), 'move', now);
    }
  }
  return placed(next, now);
}

/** Places each session where it is served now; those that move remember from where. */
function placed(state, now) {
  const members = membersOf(state.pools.stateful?.instances ?? []);
  const sessions = new Map();
  for (const [key, session] of state.sessions) {
    const { home, serving } = placeOf(members, key);
    sessions.set(key, serving === session.at
      ? { ...session, home }
      : { ...session, home, at: serving, from: session.at, movedAt: now });
  }
  return { ...state, sessions };
}

function routed(state, event, now) {
  const dot = { ...event, id: event.request_id, at: now, kind: kindOf(event) };
  const next = {
    ...state,
    dots: [...state.dots, dot].slice(-MAX_DOTS),
    sampled: [...state.sampled.filter(({ at }) => now - at < SAMPLING_MS), { at: now, weight: event.sample_weight }],
  };
  return event.pool === 'stateful' && event.key ? withSession(next, event, now) : next;
}

function withSession(state, { key }, now) {
  const sessions = new Map(state.sessions);
  const known = sessions.get(key);
  if (known) {
    sessions.set(key, { ...known, seen: now });
    return { ...state, sessions };
  }
  if (sessions.size >= MAX_SESSIONS) {
    const [oldest] = [...sessions.values()].reduce((a, b) => (b.seen < a[1] ? [b.key, b.seen] : a), [null, Infinity]);
    sessions.delete(oldest);
  }
  const { home, serving } = placeOf(membersOf(state.pools.stateful?.instances ?? []), key);
  sessions.set(key, { key, seen: now, home, at: serving, from: null, movedAt: now });
  return { ...state, sessions };
}

function rated(state, rates, now) {
  const before = state.rates[rates.pool];
  const point = {
    at: now,
    requests: perSecond(rates),
    p99: rates.p99_ms ?? null,
    memory: rates.reads?.memory ?? null,
    reads: rates.reads?.total ?? null,
    lost: rates.pool === 'stateful' ? rates.not_found : null,
    failed: rates.failed,
  };
  const history = [...state.history[rates.pool].filter(({ at }) => now - at <= HISTORY_S * 1000), point];
  let next = {
    ...state,
    rates: { ...state.rates, [rates.pool]: rates },
    history: { ...state.history, [rates.pool]: history },
  };
  const pool = state.pools[rates.pool];
  if (pool && pool.epoch !== rates.epoch) next = { ...next, outdated: true };
  const [failover, earlier] = [rates, before].map((of) => of?.verdicts.failover ?? 0);
  if (failover > 0 && earlier === 0) {
    next = line(next, 'requests fail over: the home of their key is away, the next in rank serves them', 'bad', now);
  }
  if (rates.pool === 'stateful' && rates.not_found > 0 && !(before?.not_found > 0)) {
    next = line(next, 'sessions are not found: the instance that was asked does not have them', 'bad', now);
  }
  if (rates.failed > 0 && !(before?.failed > 0)) {
    next = line(next, `requests of the ${rates.pool} pool fail: ${rates.failed} in this second`, 'bad', now);
  }
  return next;
}

/** Forgets what is over. */
function aged(state, now) {
  const dots = state.dots.filter(({ at }) => now - at < DOT_MS);
  const old = [...state.sessions.values()].filter(({ seen }) => now - seen > SESSION_MS);
  if (dots.length === state.dots.length && old.length === 0) return state;
  const sessions = new Map(state.sessions);
  old.forEach(({ key }) => sessions.delete(key));
  return { ...state, dots, sessions };
}
