// Draws what scene.mjs lists.

import { VERDICTS } from './verdicts.mjs';

const paths = Object.fromEntries(Object.entries(VERDICTS).map(([kind, { path }]) => [kind, new Path2D(path)]));

/** Fits the canvas to its element, in device pixels. */
function fit(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = Math.min(window.devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export function draw(canvas, { dots, seats, more }, { ink, back, size, chosen }) {
  const context = fit(canvas);
  context.lineWidth = 1;
  for (const { x, y, key, away, moving } of seats) {
    context.beginPath();
    context.arc(x, y, size * 0.62, 0, 2 * Math.PI);
    context.fillStyle = VERDICTS[away ? 'failover' : 'home'].colour;
    context.globalAlpha = moving ? 1 : 0.8;
    context.fill();
    context.strokeStyle = ink;
    context.lineWidth = key === chosen ? 3 : away ? 1.5 : 0.6;
    context.stroke();
    // Away from home: a hole, so that colour is not all.
    if (away) {
      context.beginPath();
      context.arc(x, y, size * 0.22, 0, 2 * Math.PI);
      context.fillStyle = back;
      context.fill();
    }
  }
  context.globalAlpha = 1;
  context.fillStyle = ink;
  context.font = `600 ${size * 2}px system-ui, sans-serif`;
  context.textBaseline = 'middle';
  for (const { x, y, count } of more) context.fillText(`+${count}`, x - size, y);
  for (const { x, y, kind, alpha, scale } of dots) {
    context.save();
    context.translate(x, y);
    context.scale(size * scale, size * scale);
    context.globalAlpha = alpha;
    context.fillStyle = kind === 'failed' ? ink : VERDICTS[kind].colour;
    context.fill(paths[kind]);
    context.lineWidth = 1.2 / (size * scale);
    context.strokeStyle = kind === 'failed' ? back : ink;
    context.stroke(paths[kind]);
    context.restore();
  }
}
