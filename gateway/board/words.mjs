// Events in words.

const POOLS = { stateless: 'stateless pool', stateful: 'stateful pool' };
export const STRATEGIES = {
  sticky: 'sticky', round_robin: 'round robin', ip_hash: 'hash of the address', least_conn: 'least connections',
};
export const strategyName = (strategy) => STRATEGIES[strategy] ?? strategy;

const STATES = {
  healthy: 'is healthy', unhealthy: 'fails its health checks', ejected: 'is ejected: it failed requests in a row',
  draining: 'is draining: it keeps its keys and gets no new ones', drained: 'is drained', pending: 'is not known yet',
  duplicate_name: 'is rejected: another instance has its name', wrong_instance: 'is rejected: it is no instance of this pool',
};

export function percent(share) {
  const value = share * 100;
  return `${value > 0 && value < 1 ? value.toFixed(1) : Math.round(value)} %`;
}

/** 1 234, 12.3 k. */
export function amount(value) {
  if (value >= 10_000) return `${(value / 1000).toFixed(value >= 100_000 ? 0 : 1)} k`;
  return value >= 100 || Number.isInteger(value) ? String(Math.round(value)) : value.toFixed(1);
}

export function milliseconds(value) {
  if (value === null || value === undefined) return '–';
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value >= 10 ? Math.round(value) : value.toFixed(1)} ms`;
}

/** The first line of the log. */
export function watching(pools) {
  const parts = pools.map(({ name, instances, strategy }) => `${instances.length} ${name} (${strategyName(strategy)})`);
  return `watching ${list(parts)} instances`;
}

/** What a change of membership moved: `flows` are those of rendezvous.mjs. */
export function membership(pool, before, after, { share, flows }) {
  const names = (members) => new Set(members.map(({ name }) => name));
  const [old, now] = [names(before), names(after)];
  const left = [...old].filter((name) => !now.has(name));
  const joined = [...now].filter((name) => !old.has(name));
  const what = [
    ...(left.length ? [`${list(left)} left`] : []),
    ...(joined.length ? [`${list(joined)} joined`] : []),
  ].join(', ') || `the weights of the ${POOLS[pool] ?? pool} changed`;
  if (share === 0) return `${what}: no key moved`;
  const [from, to] = [flows.every((flow) => left.includes(flow.from)), flows.every((flow) => joined.includes(flow.to))];
  const which = from && left.length ? `, all of them from ${pronoun(left)}` : to && joined.length ? `, all of them to ${pronoun(joined)}` : '';
  return `${what}: ${percent(share)} of the keys moved${which}`;
}

const list = (names) => (names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`);
const pronoun = (names) => (names.length === 1 ? 'it' : 'them');

/** The line of an event, or null for one that is no news. */
export function sentence(event) {
  const name = event.instance ?? event.addr;
  switch (event.type) {
    case 'instance_changed': return `${name} ${STATES[event.state] ?? event.state}${event.detail ? `: ${event.detail}` : ''}`;
    case 'instance_added': return `${event.addr} was added to the ${POOLS[event.pool]}`;
    case 'instance_removed': return `${name} was removed from the ${POOLS[event.pool]}`;
    case 'strategy_changed': return `the ${POOLS[event.pool]} is routed by ${strategyName(event.strategy)} now`;
    case 'overload_changed':
      return event.limit === null
        ? `the ${POOLS[event.pool]} no longer sheds load`
        : `the ${POOLS[event.pool]} is overloaded: requests beyond ${event.limit} in flight are rejected`;
    case 'connections_changed':
      return event.limit === null
        ? 'new client connections are accepted again'
        : `the limit of ${event.limit} client connections is reached`;
    case 'discovery_changed':
      return event.error === null
        ? `discovery of the ${POOLS[event.pool]} works again`
        : `discovery of the ${POOLS[event.pool]} failed, the known instances stay: ${event.error}`;
    case 'config_reloaded': return 'the configuration was reloaded';
    case 'config_rejected': return `a reload failed, nothing changed: ${event.detail}`;
    case 'state_file_changed':
      return event.error === null ? 'the state file can be written again' : `the state file cannot be written: ${event.error}`;
    case 'missed': return `this page was too slow: ${event.events} events were dropped`;
    case 'gateway_stopping': return 'the gateway is stopping or being upgraded';
    default: return null;
  }
}

/** How bad a line is: good, bad or plain. */
export function mood(event) {
  if (event.type === 'instance_changed') {
    if (event.state === 'healthy') return 'good';
    return ['unhealthy', 'ejected', 'duplicate_name', 'wrong_instance'].includes(event.state) ? 'bad' : 'plain';
  }
  return ['config_rejected', 'missed'].includes(event.type) || event.error || event.limit ? 'bad' : 'plain';
}
