// Charts of the last five minutes, as SVG: four curves of two pools need no library.

import { HISTORY_S, POOLS } from './state.mjs';
import { amount, milliseconds, percent } from './words.mjs';

const [WIDTH, HEIGHT] = [300, 80];
const SVG = 'http://www.w3.org/2000/svg';
/** A gap in the data breaks the line. */
const GAP_MS = 3_500;

/** Reads come with health checks, so their share is that of some seconds together. */
export function memoryShare(points, place, over = 5) {
  const window = points.slice(Math.max(0, place - over + 1), place + 1);
  const sum = (name) => window.reduce((total, point) => total + (point[name] ?? 0), 0);
  const reads = sum('reads');
  return reads > 0 ? sum('memory') / reads : null;
}

export const CHARTS = [
  { id: 'requests', title: 'Requests per second', pools: POOLS, value: ({ requests }) => requests, show: amount, least: 5 },
  { id: 'p99', title: 'p99 of the duration', pools: POOLS, value: ({ p99 }) => p99, show: milliseconds, least: 5 },
  {
    id: 'memory', title: 'Reads from memory', pools: ['stateful'], value: (_, points, place) => memoryShare(points, place),
    show: (share) => (share === null ? '–' : percent(share)), least: 1, most: 1,
  },
  { id: 'lost', title: 'Sessions not found /s', pools: ['stateful'], value: ({ lost }) => lost, show: amount, least: 5 },
];

/** The points of a chart: by pool, [milliseconds ago, value or null]. */
export function series(chart, history, now) {
  return Object.fromEntries(chart.pools.map((pool) => [pool, history[pool].map((point, place) =>
    [now - point.at, chart.value(point, history[pool], place)])]));
}

/** A round number that is at least the value. */
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-9)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

/** How far back the charts look: from a minute to five, as far as there is something to see. */
export function span(history, now) {
  const oldest = Math.max(0, ...Object.values(history).map(([first]) => (first ? now - first.at : 0)));
  return Math.min(HISTORY_S, Math.max(60, Math.ceil(oldest / 1000)));
}

/** The path of a series in the chart's box, over so many seconds. */
export function path(points, most, seconds = HISTORY_S) {
  let text = '';
  let last = null;
  for (const [ago, value] of points) {
    if (value === null) { last = null; continue; }
    const x = WIDTH * (1 - ago / (seconds * 1000));
    const y = HEIGHT - 1 - (HEIGHT - 3) * Math.min(1, value / most);
    text += `${last === null || last - ago > GAP_MS ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`;
    last = ago;
  }
  return text;
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

/** Makes the charts in a container; returns a function that updates them. */
export function mount(container) {
  const parts = CHARTS.map((chart) => {
    const figure = document.createElement('figure');
    figure.id = `chart-${chart.id}`;
    const caption = document.createElement('figcaption');
    const title = document.createElement('h3');
    title.textContent = chart.title;
    caption.append(title);
    const values = new Map(chart.pools.map((pool) => {
      const row = document.createElement('p');
      row.className = `value ${pool}`;
      const name = document.createElement('span');
      name.textContent = pool;
      const number = document.createElement('b');
      row.append(number, name);
      caption.append(row);
      return [pool, number];
    }));
    const svg = element('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    svg.append(element('path', { class: 'grid', d: `M0 .5H${WIDTH}M0 ${HEIGHT / 2}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}` }));
    const lines = new Map(chart.pools.map((pool) => {
      const made = element('path', { class: `line ${pool}` });
      svg.append(made);
      return [pool, made];
    }));
    const scale = document.createElement('p');
    scale.className = 'scale';
    figure.append(caption, svg, scale);
    container.append(figure);
    return { chart, values, lines, scale };
  });
  return ({ history }, now) => {
    const seconds = span(history, now);
    for (const { chart, values, lines, scale } of parts) {
      const all = series(chart, history, now);
      const highest = Math.max(chart.least, ...Object.values(all).flat().map(([, value]) => value ?? 0));
      const most = chart.most ?? ceiling(highest);
      for (const pool of chart.pools) {
        lines.get(pool).setAttribute('d', path(all[pool], most, seconds));
        const latest = all[pool].at(-1)?.[1] ?? null;
        values.get(pool).textContent = latest === null ? '–' : chart.show(latest);
      }
      scale.textContent = `0 to ${chart.show(most)}, last ${seconds < HISTORY_S ? `${seconds} s` : '5 minutes'}`;
    }
  };
}
