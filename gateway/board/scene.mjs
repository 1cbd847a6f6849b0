// The picture, as a pure function of the state, the places of the parts on the page, and the time. It draws nothing:
// it lists what canvas.mjs is to draw.

const TO_GATEWAY_MS = 450;
const TO_INSTANCE_MS = 550;
const BACK_MS = 350;
const FADE_MS = 350;
/** How long a session takes to move. */
export const MOVE_MS = 1_400;
/** Without motion a dot stays at its instance for this long. */
const STILL_MS = 700;

const ease = (t) => (t < 0.5 ? 2 * t * t : 1 - (2 - 2 * t) ** 2 / 2);
const between = (a, b, t) => ({ x: a.x + (b.x - a.x) * t, y: a.y + (b.y - a.y) * t });
const centre = ({ x, y, width, height }) => ({ x: x + width / 2, y: y + height / 2 });
const left = ({ x, y, height }, share = 0.5) => ({ x, y: y + height * share });

/** A number from 0 to 1 that is the same for the same text. */
export function spread(text) {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return (hash >>> 0) / 2 ** 32;
}

/**
 * @param places {clients, gateway, instances: Map of name to box, seats: Map of name to box}; a box is {x, y, width, height}
 * @returns {dots: [{x, y, kind, alpha, scale, dot}], seats: [{x, y, key, away, moving}], more: [{x, y, count}]}
 */
export function scene(state, places, now, { still = false, seat = 14 } = {}) {
  const dots = state.dots.map((dot) => dotAt(dot, places, now, still)).filter(Boolean);
  return { dots, ...seats(state, places, now, still, seat) };
}

function dotAt(dot, places, now, still) {
  const age = now - dot.at;
  if (age < 0) return null;
  const goal = places.instances.get(dot.instance);
  const of = (point, alpha, scale = 1) => ({ ...point, kind: dot.kind, alpha, scale, dot });
  if (still) {
    if (age > STILL_MS) return null;
    return of(goal ? left(goal, 0.2 + 0.6 * spread(dot.id)) : centre(places.gateway), 1 - age / STILL_MS);
  }
  // Below the captions of both boxes.
  const start = { x: places.clients.x + places.clients.width / 2, y: left(places.clients, 0.22 + 0.74 * spread(dot.key ?? dot.id)).y };
  const middle = { x: centre(places.gateway).x, y: left(places.gateway, 0.25 + 0.7 * spread(`${dot.id}g`)).y };
  const legs = [{ from: start, to: middle, ms: TO_GATEWAY_MS }];
  for (const tried of dot.tried ?? []) {
    const box = places.instances.get(tried);
    if (!box) continue;
    legs.push({ from: middle, to: left(box), ms: TO_INSTANCE_MS }, { from: left(box), to: middle, ms: BACK_MS });
  }
  if (goal && dot.kind !== 'failed') legs.push({ from: middle, to: left(goal, 0.2 + 0.6 * spread(dot.id)), ms: TO_INSTANCE_MS });
  let rest = age;
  for (const { from, to, ms } of legs) {
    if (rest < ms) return of(between(from, to, ease(rest / ms)), 1);
    rest -= ms;
  }
  if (rest > FADE_MS) return null;
  return of(legs.at(-1).to, 1 - rest / FADE_MS, 1 + rest / FADE_MS);
}

/** The place of the n-th of `count` sessions within a box. */
function seatAt(box, n, size) {
  const columns = Math.max(1, Math.floor(box.width / size));
  return { x: box.x + ((n % columns) + 0.5) * size, y: box.y + (Math.floor(n / columns) + 0.5) * size };
}

function seats(state, places, now, still, size) {
  const byPlace = new Map();
  for (const session of state.sessions.values()) {
    if (!byPlace.has(session.at)) byPlace.set(session.at, []);
    byPlace.get(session.at).push(session);
  }
  const seats = [];
  const more = [];
  for (const [name, sessions] of byPlace) {
    const box = places.seats.get(name);
    if (!box) continue;
    const rows = Math.max(1, Math.floor(box.height / size));
    const columns = Math.max(1, Math.floor(box.width / size));
    const room = rows * columns;
    // The last places are for the number of those that have none.
    const shown = sessions.length > room ? Math.max(0, room - 4) : sessions.length;
    if (shown < sessions.length) more.push({ ...seatAt(box, shown, size), count: sessions.length - shown });
    sessions.slice(0, shown).forEach((session, n) => {
      const goal = seatAt(box, n, size);
      const age = now - session.movedAt;
      const origin = places.seats.get(session.from);
      const moving = !still && Boolean(origin) && age < MOVE_MS;
      const at = moving ? between(centre(origin), goal, ease(age / MOVE_MS)) : goal;
      seats.push({ ...at, key: session.key, away: session.at !== session.home, moving });
    });
  }
  return { seats, more };
}

/** What is at this point: the nearest dot or session within reach, or null. */
export function at({ dots, seats }, { x, y }, reach = 18) {
  const items = [...dots.map((dot) => ({ x: dot.x, y: dot.y, key: dot.dot.key ?? null, request: dot.dot })), ...seats];
  const distance = (item) => Math.hypot(item.x - x, item.y - y);
  const nearest = items.reduce((best, item) => (best && distance(best) <= distance(item) ? best : item), null);
  return nearest && distance(nearest) <= reach ? nearest : null;
}

/** Whether the picture changes by itself. */
export function isMoving(state, now) {
  if (state.dots.length > 0) return true;
  for (const { movedAt, from } of state.sessions.values()) if (from && now - movedAt < MOVE_MS + 100) return true;
  return false;
}
