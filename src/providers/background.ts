import { waitUntil } from 'cloudflare:workers';

/** Work that nobody waits for: the platform lets it end after the answer. Its failure is its own to tell. */
export function later(work: Promise<unknown>): void {
  waitUntil(work.catch(() => {}));
}
