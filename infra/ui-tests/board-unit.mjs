// The board's state, scene and words, which need no browser.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { ceiling, memoryShare, path } from '../../gateway/board/charts.mjs';
import { modules, places, told } from '../../gateway/board/class.mjs';
import { changesOf, strategiesOf, missedInWords } from '../../gateway/board/controls.mjs';
import { keyOf, reason, title } from '../../gateway/board/conversation.mjs';
import * as lab from '../../gateway/board/lab.mjs';
import * as lessons from '../../gateway/board/lessons.mjs';
import { bars, effect, nextName } from '../../gateway/board/inspector.mjs';
import { changes } from '../../gateway/board/poll.mjs';
import { membersOf, moved, ranking, sampleKeys } from '../../gateway/board/rendezvous.mjs';
import { at as found, isMoving, scene } from '../../gateway/board/scene.mjs';
import { DOT_MS, MAX_SESSIONS, initial, reduce, sampling } from '../../gateway/board/state.mjs';
import { parse } from '../../gateway/board/stream.mjs';
import { FIELDS, figuresOf, stateOf, valueOf } from '../../gateway/board/traffic.mjs';
import { kindOf } from '../../gateway/board/verdicts.mjs';
import { amount, percent } from '../../gateway/board/words.mjs';

const HASHES = ['9f0c3b5a7712e4d1', '1c84aa03fe5d9b62', 'd3e65f1027ab48c9', '60b19d7e35f2ac84'];

function instance(number, changes = {}) {
  return {
    name: `stateful-${number}`, addr: `127.0.0.1:820${number}`, state: 'healthy', in_flight: 0, streams: 0,
    live_sessions: 0, key_share_percent: 33, weight: 1, member: { hash: HASHES[number - 1], usable: true }, ...changes,
  };
}

const pool = (instances, epoch = '00000001', strategy = 'sticky') => ({ name: 'stateful', strategy, epoch, instances });
const pools = (...args) => ({ type: 'pools', pools: [pool(...args)] });
const three = () => [1, 2, 3].map((number) => instance(number));

function routed(key, changes = {}) {
  return {
    type: 'routed', pool: 'stateful', instance: 'stateful-1', verdict: 'home', key, method: 'GET', route: '/', status: 200,
    duration_ms: 1, request_id: `request-${key}`, sample_weight: 1, ...changes,
  };
}

const rates = (changes = {}) => ({
  type: 'rates', pool: 'stateful', strategy: 'sticky', epoch: '00000001', interval_ms: 1000, requests: 10,
  verdicts: { home: 10 }, retries: 0, failed: 0, not_found: 0, p99_ms: 2, instances: [], ...changes,
});

/** Fails a change of the state that was given. */
function frozen(value) {
  if (value instanceof Map) {
    value.set = () => { throw new Error('changed'); };
    value.delete = value.set;
    value.forEach(frozen);
  } else if (value && typeof value === 'object' && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(frozen);
  }
  return value;
}

/** The state after these events, of which none may change what was before. */
const after = (events, state = initial()) =>
  events.reduce((now, [event, at]) => frozen(reduce(now, frozen(event), at)), frozen(state));

describe('the state of the board', () => {
  it('says in words what a change of membership moved', () => {
    const [one, two, four] = [three(), [instance(1), instance(3)], [...three(), instance(4)]];
    const texts = after([[pools(one), 0], [pools(two, '2'), 1], [pools(one, '3'), 2], [pools(four, '4'), 3]]).log.map(({ text }) => text);
    assert.match(texts[2], /^Stateful-2 left: 3\d % of the keys moved, all of them from it$/);
    assert.match(texts[1], /^Stateful-2 joined: 3\d % of the keys moved, all of them to it$/);
    assert.match(texts[0], /^Stateful-4 joined: 2\d % of the keys moved, all of them to it$/);
    const doubled = [instance(1, { weight: 3 }), instance(2), instance(3)];
    const [weights] = after([[pools(one), 0], [pools(doubled, '2'), 1]]).log;
    assert.match(weights.text, /^The weights of the stateful pool changed: \d\d % of the keys moved$/);
  });

  it('moves sessions with their homes, and back', () => {
    const keys = sampleKeys(60);
    let state = after([[pools(three()), 0], ...keys.map((key) => [routed(key), 1])]);
    const homes = new Map([...state.sessions].map(([key, { at }]) => [key, at]));
    assert.equal(new Set(homes.values()).size, 3);
    const away = [instance(1), instance(2, { state: 'unhealthy', member: { hash: HASHES[1], usable: false } }), instance(3)];
    state = after([[pools(away), 100]], state);
    for (const [key, session] of state.sessions) {
      assert.equal(session.home, homes.get(key), 'a failing member keeps its keys');
      const was = homes.get(key);
      assert.equal(session.at === was, was !== 'stateful-2', `${key} of ${was} is at ${session.at}`);
      if (was === 'stateful-2') assert.deepEqual([session.from, session.movedAt], [was, 100]);
    }
    state = after([[pools(three()), 200]], state);
    for (const [key, { at }] of state.sessions) assert.equal(at, homes.get(key));
  });

  it('is bounded, whatever comes', () => {
    let state = reduce(initial(), pools(three()), 0);
    for (let i = 0; i < 3_000; i += 1) state = reduce(state, routed(i.toString(16).padStart(8, '0')), i);
    assert(state.dots.length <= 400 && state.sampled.length <= 5_000, `${state.dots.length} ${state.sampled.length}`);
    assert.equal(state.sessions.size, MAX_SESSIONS);
    assert(state.sessions.has((2_999).toString(16).padStart(8, '0')), 'the latest are kept');
    for (let i = 0; i < 500; i += 1) state = reduce(state, { type: 'config_reloaded' }, i);
    assert.equal(state.log.length, 100);
    state = reduce(state, { type: 'tick' }, 1e9);
    assert.deepEqual([state.dots.length, state.sessions.size], [0, 0], 'what is old goes');
  });

  it('asks for the pools again when they are outdated', () => {
    const known = after([[pools(three()), 0]]);
    assert.equal(known.outdated, false);
    assert.equal(reduce(known, rates(), 1).outdated, false);
    for (const event of [rates({ epoch: '00000002' }), { type: 'missed', events: 3 },
      { type: 'instance_changed', pool: 'stateful', instance: 'stateful-1', addr: '127.0.0.1:8201', state: 'unhealthy', epoch: '1' }]) {
      const next = reduce(known, event, 1);
      assert.equal(next.outdated, true, event.type);
      assert.equal(reduce(next, pools(three()), 2).outdated, false);
    }
  });

  it('logs the beginning of failovers, losses and failures, not each second of them', () => {
    const bad = rates({ verdicts: { failover: 3 }, not_found: 2, failed: 1 });
    const state = after([[pools(three()), 0], [rates(), 1], [bad, 2], [bad, 3], [rates(), 4], [bad, 5]]);
    assert.equal(state.log.length, 7, state.log.map(({ text }) => text).join('\n'));
  });

  it('says how many requests a dot stands for', () => {
    const weights = [1, 1, 10].map((weight) => [routed('00000001', { sample_weight: weight }), 1]);
    assert.equal(sampling(after(weights)), 4);
    assert.equal(sampling(initial()), 1);
  });

  it('shows what no instance served as failed', () => {
    assert.equal(kindOf(routed('1', { status: 503 })), 'failed');
    assert.equal(kindOf(routed('1', { instance: undefined })), 'failed');
    assert.equal(kindOf(routed('1', { status: 404, verdict: 'failover' })), 'failover');
    assert.equal(kindOf(routed('1', { verdict: 'of a later version' })), 'off');
  });
});

describe('the scene', () => {
  const box = (x, y) => ({ x, y, width: 100, height: 50 });
  const names = ['stateful-1', 'stateful-2', 'stateful-3'];
  const places = {
    clients: box(0, 0), gateway: box(300, 0),
    instances: new Map(names.map((name, i) => [name, box(600, 100 * i)])),
    seats: new Map(names.map((name, i) => [name, box(620, 100 * i)])),
  };

  it('sends a dot from the clients through the gateway to its instance', () => {
    const state = after([[routed('0badcafe', { instance: 'stateful-3' }), 0]]);
    const at = (now) => scene(state, places, now).dots[0];
    assert(at(0).x < 100 && at(200).x > at(0).x);
    assert(Math.abs(at(450).x - 350) < 1 && at(450).y > 0 && at(450).y < 50, 'within the gateway');
    assert.equal(at(1_000).x, 600);
    assert(at(1_000).y > 200 && at(1_000).y < 250);
    assert.equal(at(DOT_MS), undefined, 'it is over before it is forgotten');
  });

  it('shows a failover at the instance that failed first', () => {
    const state = after([[routed('0badcafe', { instance: 'stateful-1', tried: ['stateful-2'], verdict: 'failover' }), 0]]);
    const ys = Array.from({ length: 100 }, (_, i) => scene(state, places, i * 20).dots[0]).filter(Boolean);
    assert(ys.some(({ x, y }) => x > 590 && y > 100 && y < 150), 'at the one that was tried');
    assert(ys.at(-1).y < 50, 'and ends at the other');
  });

  it('has no travelling dots without motion', () => {
    const state = after([[routed('0badcafe', { instance: 'stateful-3' }), 0]]);
    const xs = [0, 200, 400, 600].map((now) => scene(state, places, now, { still: true }).dots[0].x);
    assert.deepEqual(xs, [600, 600, 600, 600]);
  });

  it('moves sessions from the old to the new instance, and counts those without room', () => {
    const keys = sampleKeys(200);
    const before = after([[pools(three()), 0], ...keys.map((key) => [routed(key), 0])]);
    const full = scene(before, places, 10_000);
    const shown = full.seats.length + full.more.reduce((sum, { count }) => sum + count, 0);
    assert.equal(shown, 200);
    assert(full.more.length === 3 && full.seats.every(({ moving }) => !moving));
    const left = after([[pools([instance(1), instance(3)], '2'), 20_000]], before);
    assert(isMoving(left, 20_100) && !isMoving({ ...left, dots: [] }, 30_000));
    const { seats } = scene(left, { ...places, seats: new Map(names.map((name, i) => [name, { ...box(620, 100 * i), width: 2_000 }])) }, 20_100);
    assert(seats.filter(({ moving }) => moving).length > 40, 'those of the one that left');
    assert(scene(left, places, 20_100, { still: true }).seats.every(({ moving }) => !moving));
  });
});

describe('what the board explains and changes', () => {
  it('draws bars of scores, and of weighted scores where weights differ', () => {
    assert.deepEqual(bars([{ score: '8000000000000000' }, { score: '4000000000000000' }]), [0.5, 0.25]);
    assert.deepEqual(bars([{ score: 'f', weighted_score: 8 }, { score: '0', weighted_score: 2 }]), [1, 0.25]);
  });

  it('says what a change would move', () => {
    const flows = [{ from: 'stateful-2', to: 'stateful-1', percent: 17 }, { from: 'stateful-2', to: 'stateful-3', percent: 16.4 }];
    assert.equal(effect('0badcafe', { home: 'stateful-1', moves: true, moved_percent: 33.4, flows }),
      '33 % of all keys would move, all from stateful-2. 0badcafe would move to stateful-1.');
    assert.equal(effect('0badcafe', { home: 'stateful-1', moves: false, moved_percent: 0, flows: [] }),
      '0 % of all keys would move. 0badcafe would stay at stateful-1.');
    assert.equal(effect('0badcafe', { home: null, moves: true, moved_percent: 100, flows: [{ from: 'stateful-1', to: null, percent: 100 }] }),
      '100 % of all keys would move, all from stateful-1. 0badcafe would move to nowhere.');
    assert.equal(nextName(['stateful-1', 'stateful-10', 'other'], 'stateful'), 'stateful-11');
    assert.equal(nextName([], 'stateful'), 'stateful-1');
  });

  it('finds what is clicked', () => {
    const request = routed('0badcafe');
    const picture = { dots: [{ x: 10, y: 10, dot: request }], seats: [{ x: 30, y: 10, key: '00000001' }] };
    assert.deepEqual(found(picture, { x: 12, y: 10 }), { x: 10, y: 10, key: '0badcafe', request });
    assert.equal(found(picture, { x: 25, y: 10 }).key, '00000001');
    assert.equal(found(picture, { x: 90, y: 10 }), null);
    assert.equal(found({ dots: [], seats: [] }, { x: 0, y: 0 }), null);
  });

  it('offers what a state allows, and the strategies that the gateway has', () => {
    const labels = (state) => changesOf(state).map(([label]) => label);
    assert.deepEqual(labels('healthy'), ['Drain', 'Remove']);
    assert.deepEqual(labels('drained'), ['Undrain', 'Remove']);
    assert.deepEqual(labels('pending'), ['Remove']);
    const document = JSON.parse(readFileSync(new URL('../../docs/openapi-control.json', import.meta.url), 'utf8'));
    const strategies = strategiesOf(document);
    assert(strategies.includes('sticky') && strategies.includes('round_robin'), strategies.join());
    assert.deepEqual(strategiesOf({}), []);
  });

  it('says which gateways a change missed', () => {
    assert.equal(missedInWords({}), '');
    assert.equal(missedInWords({ missed: [] }), '');
    const text = missedInWords({ missed: [{ gateway: '127.0.0.1:8005', cause: 'connection refused' }] });
    assert.equal(text, 'Gateway 127.0.0.1:8005 was missed: connection refused. Make the change again when it is back.');
  });

  it('offers what the state of a process allows', () => {
    const urls = (state) => lab.changesOf(state).map(([label, method, url]) => `${label} ${method} ${url('stateful', 'a/b')}`);
    const act = (label) => `${label} POST /control/v1/lab/instances/a%2Fb/${label.toLowerCase()}`;
    assert.deepEqual(urls('running'), [act('Kill'), act('Stop')]);
    for (const state of ['killed', 'stopped', 'died']) assert.deepEqual(urls(state), [act('Start')], state);
    for (const state of ['starting', 'paused', undefined]) assert.deepEqual(urls(state), [], state);
    const instances = ['stateful-1', 'stateful-2'].map((name) => ({ name, pool: 'stateful', state: 'running' }));
    const { counts, states } = lab.processesOf({ instances, most_instances: 8 });
    assert.deepEqual(counts, { stateless: 0, stateful: 2 });
    assert.equal(states.get('stateful-2'), 'running');
  });
});

describe('the class on the board', () => {
  const ada = { nickname: 'Ada', digest: 'd', key: '0badcafe', message_count: 1, instance: 'stateful-2' };

  it('places people as the dots of their sessions', () => {
    const people = sampleKeys(90).map((key) => ({ ...ada, key }));
    const all = places(people, three());
    assert.deepEqual([...all.keys()].sort(), ['stateful-1', 'stateful-2', 'stateful-3']);
    assert.equal([...all.values()].flat().length, 90);
    const away = [instance(1), instance(2, { member: { hash: HASHES[1], usable: false } }), instance(3)];
    const failed = places(people, away);
    assert.equal(failed.has('stateful-2'), false);
    assert.equal([...failed.values()].flat().length, 90);
    assert.equal(places(people, []).get(null).length, 90);
  });

  it('says who has how many messages, and who was served elsewhere', () => {
    assert.equal(told(ada, 'stateful-2'), 'Ada: 1 message');
    assert.equal(told({ ...ada, message_count: 7 }, 'stateful-1'), 'Ada: 7 messages, served last by stateful-2');
  });

  it('draws a QR code with its margin', () => {
    assert.equal(modules(['10', '01']), 'M4 4h1v1h-1zM5 5h1v1h-1z');
  });
});

describe('the parts of the board', () => {
  it('reads server-sent events however they are cut', () => {
    const text = ':\n\nretry: 1000\n\nevent: rates\ndata: {"type":"rates","a":"b\\n\\nc"}\n\nevent: missed\ndata: {"type":"missed","events":1}\n\n';
    for (let cut = 0; cut <= text.length; cut += 1) {
      const first = parse(text.slice(0, cut));
      const second = parse(first.rest + text.slice(cut));
      assert.deepEqual([...first.events, ...second.events].map(({ type }) => type), ['rates', 'missed'], `cut at ${cut}`);
      assert.equal(second.rest, '');
    }
  });

  it('moves only keys of the member that left, and as many as weights say', () => {
    const [before, weighted] = [membersOf(three()), membersOf([instance(1, { weight: 2 }), instance(2), instance(3)])];
    const { share, flows } = moved(before, before.slice(1), sampleKeys(3_000));
    assert(flows.every(({ from }) => from === 'stateful-1') && Math.abs(share - 1 / 3) < 0.04, String(share));
    const homes = sampleKeys(3_000).filter((key) => ranking(weighted, key)[0].name === 'stateful-1');
    assert(Math.abs(homes.length / 3_000 - 0.5) < 0.04, String(homes.length));
  });

  it('draws charts with gaps where nothing is known', () => {
    assert.equal(path([[2_000, 0], [1_000, null], [0, 10]], 10), 'M298.0 79.0M300.0 2.0');
    assert.equal(path([[10_000, 5], [0, 5]], 10).match(/M/g).length, 2, 'a lost connection is a gap');
    assert.deepEqual([0.3, 1, 7, 12, 230].map(ceiling), [0.5, 1, 10, 20, 500]);
    assert.equal(memoryShare([{ memory: 1, reads: 4 }, { memory: 0, reads: 0 }, { memory: 2, reads: 2 }], 2), 0.5);
    assert.equal(memoryShare([{ memory: null, reads: null }], 0), null);
  });

  it('writes numbers for people', () => {
    assert.deepEqual([0, 3, 2.34, 1234, 12_345, 123_456].map(amount), ['0', '3', '2.3', '1234', '12.3 k', '123 k']);
    assert.deepEqual([0, 0.004, 0.334].map(percent), ['0 %', '0.4 %', '33 %']);
  });
});

describe('the traffic in words', () => {
  const settings = { clients: 20, stateless_percent: 30, reads_percent: 70, think_time_ms: 250, clients_per_address: 1, cookie_jar: true };
  const pool = (changes) => ({ pool: 'stateful', requests_per_s: 55.84, requests: 1200, failures: [], ...changes });

  it('says whether the clients run, and how', () => {
    const told = (changes, of = {}) => stateOf({ running: true, sessions: 3, settings: { ...settings, ...changes }, ...of });
    assert.equal(told({}), '20 clients, with cookies');
    assert.equal(told({ clients: 1, cookie_jar: false }), '1 client, without cookies');
    assert.equal(told({ clients_per_address: 5 }), '20 clients, 5 behind each address, with cookies');
    assert.equal(told({ clients: 3, clients_per_address: 200 }), '3 clients, 3 behind each address, with cookies');
    assert.equal(told({}, { running: false, sessions: 0 }), 'stopped');
    assert.equal(told({}, { running: false, sessions: 4 }), 'stopping: 4 sessions are left');
  });

  it('says what failed, the most frequent first', () => {
    assert.deepEqual(figuresOf({ pools: [] }), []);
    assert.deepEqual(figuresOf({ pools: [pool({ requests: 0 })] }), [], 'a pool without requests is no news');
    assert.deepEqual(figuresOf({ pools: [pool()] }), ['stateful: 55.8 req/s, 1200 in all, none failed']);
    const failures = [['session_not_found', 7], ['connect', 2], ['timeout', 1], ['status_500', 1]].map(([kind, count]) => ({ kind, count }));
    assert.deepEqual(figuresOf({ pools: [pool({ failures })] }),
      ['stateful: 55.8 req/s, 1200 in all, 11 failed: 7 × session not found, 2 × connect, 1 × timeout, …']);
  });

  it('has a field for each setting, and nothing else', () => {
    assert.deepEqual(FIELDS.map(([name]) => name).sort(), Object.keys(settings).sort());
    assert.deepEqual([{ type: 'range', value: '7' }, { type: 'checkbox', checked: false }].map(valueOf), [7, false]);
  });
});

describe('an exchange in words', () => {
  const headers = (value) => [{ name: 'x-served-by', value: 'stateful-1' }, { name: 'x-affinity', value }];

  it('says how it ended, why it was routed so, and by which key', () => {
    const exchanged = { method: 'GET', path: '/x', status: 200, duration_ms: 1.234 };
    assert.equal(title(exchanged), 'GET /x: 200 after 1.2 ms');
    assert.equal(title({ ...exchanged, status: undefined, failure: 'connect' }), 'GET /x: no response, connect after 1.2 ms');
    assert.match(reason(headers('home; key=0badcafe; epoch=5f0c6e1a')), /home of its key/);
    assert.match(reason(headers('new; key=0badcafe; epoch=5f0c6e1a')), /no key/);
    assert.equal(reason([]), '');
    assert.equal(reason(headers('unheard; key=0badcafe')), '');
    assert.equal(keyOf(headers('home; key=0badcafe; epoch=5f0c6e1a')), '0badcafe');
    assert.equal(keyOf(headers('off; epoch=5f0c6e1a')), null);
    assert.equal(keyOf([]), null);
  });
});

describe('a lesson in words', () => {
  const run = (changes) => ({ phase: 'measuring', hidden: 0, traffic_paused: false, ...changes });

  it('says what it does, what waits, and how it ended', () => {
    const told = (changes) => lessons.stateOf(run(changes));
    assert.equal(told({ phase: 'predict' }), 'What do you predict?');
    assert.equal(told({ activity: 'measures on the running system' }), 'It measures on the running system.');
    assert.equal(told({ activity: 'measures on x', traffic_paused: true }), 'It measures on x; the traffic is paused meanwhile.');
    assert.match(told({ phase: 'reveal', hidden: 2 }), /as before. Hidden: 2 numbers/);
    assert.match(told({ phase: 'reveal', hidden: 1 }), /Hidden: 1 number\./);
    assert.match(told({ phase: 'finished', holds: true }), /^✓/);
    assert.match(told({ phase: 'finished', holds: false }), /^✗.*not hold/);
    assert.match(told({ phase: 'stopped' }), /as before/);
    assert.equal(told({ phase: 'failed', detail: 'Because.' }), 'Because.');
    for (const phase of ['starting', 'stopping', 'failed', 'a phase of tomorrow']) assert(told({ phase }).length > 0, phase);
  });

  it('names the next step only where one waits', () => {
    const next = (phase, hidden = 0) => lessons.nextOf(run({ phase, hidden }));
    assert.deepEqual([next('predict'), next('reveal', 1), next('reveal')], ['Measure', 'Reveal a number', 'Explain']);
    for (const phase of ['starting', 'measuring', 'finished', 'stopping', 'stopped', 'failed']) assert.equal(next(phase), null, phase);
  });

  it('says where each lesson runs', () => {
    const place = (where, needs) => lessons.placeOf({ place: where, needs, about_s: 3 });
    assert.equal(place('running_system', 'sessions in Redis'), 'on this system, about 3 s');
    assert.equal(place('own_system', 'a system of its own'), 'on a system of its own, about 3 s');
    assert.equal(place('own_system', 'sessions in memory'), 'on a system of its own, since it needs sessions in memory, about 3 s');
    assert.match(place('unavailable', 'sessions in memory'), /local stack/);
  });

  it('reads a share from a guess, and nothing else', () => {
    assert.deepEqual(['33 %', '66,7%', ' 100 % ', '0 %', '1/4', '1 / 3'].map((guess) => Math.round(lessons.shareOf(guess))), [33, 67, 100, 0, 25, 33]);
    for (const guess of ['', '33', 'half', '33 % or 50 %', '-1 %', '101 %', '3/2', '1/0', '0/0', '1/2/3', 'NaN %', '<b>5 %</b>', '1e1 %']) {
      assert.equal(lessons.shareOf(guess), null, guess);
    }
  });

  it('writes and draws predicted beside measured, within the bar', () => {
    const finding = { unit: 'percent', predicted: { value: 50, tolerance: 20.04 }, measured: 49.96, sample: 100 };
    assert.deepEqual(lessons.wordsOf(finding), { predicted: '50.0 ± 20.0 %', measured: '50.0 %', of: '100' });
    assert.deepEqual(lessons.wordsOf({ unit: 'ms', measured: 1.25 }), { predicted: null, measured: '1.3 ms', of: null });
    assert.equal(lessons.wordsOf({ ...finding, predicted: { value: 100, tolerance: 0 } }).predicted, '100.0 %');
    assert.deepEqual(lessons.barsOf(40, null), [['measured', 0, 40]]);
    for (const [measured, value, tolerance] of [[50, 50, 20], [0, 0, 0], [100, 100, 0], [120, 95, 30], [-5, 3, 10]]) {
      const drawn = lessons.barsOf(measured, { value, tolerance });
      assert.deepEqual(drawn.map(([name]) => name), ['tolerance', 'measured', 'predicted']);
      assert(drawn.every(([, from, to]) => from >= 0 && to <= 100 && from <= to), JSON.stringify(drawn));
    }
  });
});

describe('a poll', () => {
  it('is news only if no change began or ended since', () => {
    const all = changes();
    const before = all.poll();
    assert.equal(before(), true);
    all.begin();
    const during = all.poll();
    assert.deepEqual([before(), during(), all.isWaiting()], [false, false, true]);
    all.begin();
    all.end();
    assert.deepEqual([during(), all.isWaiting()], [false, true], 'another is on its way');
    all.end();
    assert.deepEqual([before(), during(), all.isWaiting()], [false, false, false]);
    assert.equal(all.poll()(), true);
  });
});
