// Every page in Chromium, through Nginx. `make test-ui` starts a system and runs this against it.
import { after, before } from 'node:test';
import { close, launch } from './browser.mjs';

before(launch);
after(close);

await import('./board-unit.mjs');
await import('./start.mjs');
await import('./docs.mjs');
await import('./errors.mjs');
await import('./cors.mjs');
await import('./class.mjs');
await import('./class-board.mjs');
await import('./board.mjs');
await import('./lessons.mjs');
await import('./board-frames.mjs');
