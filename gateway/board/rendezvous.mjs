// The gateway's rendezvous hash (gateway/src/rendezvous.rs), so that sessions can stand at their home without a
// request for each of them. A test compares it with `explain` for a thousand keys.

const MASK = (1n << 64n) - 1n;
const TWO_64 = 2 ** 64;

/** The score of a key (8 hex digits) at a member whose name has this hash (16 hex digits). */
export function score(hash, key) {
  let x = BigInt(`0x${hash}`) ^ ((BigInt(`0x${key}`) * 0x9e3779b97f4a7c15n) & MASK);
  x = ((x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n) & MASK;
  x = ((x ^ (x >> 27n)) * 0x94d049bb133111ebn) & MASK;
  return x ^ (x >> 31n);
}

/** The members of a pool as `GET /control/v1/pools` lists its instances. */
export function membersOf(instances) {
  return instances
    .filter(({ name, member }) => name && member)
    .map(({ name, member, weight = 1 }) => ({ name, hash: member.hash, usable: member.usable, weight }));
}

/** The members by rank for this key, the home first. */
export function ranking(members, key) {
  const weighted = members.some(({ weight }) => weight !== members[0].weight);
  const ranked = members.map((member) => {
    const own = score(member.hash, key);
    // The gateway compares in integers; a double differs from it by less than one key in a million.
    const value = weighted ? member.weight / -Math.log((Number(own) + 1) / TWO_64) : 0;
    return { ...member, score: own, value };
  });
  return ranked.sort((a, b) => b.value - a.value || (a.score < b.score ? 1 : a.score > b.score ? -1 : 0));
}

/** The key's home, and the instance that serves it now: the first in rank that may get requests. */
export function placeOf(members, key) {
  const ranked = ranking(members, key);
  const serving = ranked.find(({ usable }) => usable) ?? ranked[0];
  return { home: ranked[0]?.name ?? null, serving: serving?.name ?? null };
}

/** Evenly spread keys: the same for each comparison. */
export function sampleKeys(count) {
  return Array.from({ length: count }, (_, i) => (Math.imul(i + 1, 0x9e3779b1) >>> 0).toString(16).padStart(8, '0'));
}

/** The share of keys whose home differs between two memberships, and between which homes. */
export function moved(before, after, keys) {
  const flows = new Map();
  let count = 0;
  for (const key of keys) {
    const from = placeOf(before, key).home;
    const to = placeOf(after, key).home;
    if (from === to) continue;
    count += 1;
    const flow = `${from ?? ''}>${to ?? ''}`;
    flows.set(flow, { from, to, keys: (flows.get(flow)?.keys ?? 0) + 1 });
  }
  return { share: keys.length ? count / keys.length : 0, flows: [...flows.values()] };
}
