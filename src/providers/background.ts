import { waitUntil } from 'cloudflare:workers';

/** Runs work in the background: it may finish after the response is sent. The work itself logs its failures. */
export function runInBackground(work: Promise<unknown>): void {
  waitUntil(work.catch(() => {}));
}
