import { appliedMigration, LATEST_MIGRATION } from '../storage/d1/schema-version.ts';
import type { Core } from './context.ts';

/** How long an isolate gives the same answer: however many ask, D1 is asked this seldom. */
const FRESH_MS = 2_000;

/** Whether requests can be served. `applied`: the newest migration that the database has, null for none. */
export type Readiness =
  | { state: 'ready' }
  | { state: 'database_outdated'; applied: string | null; required: string }
  | { state: 'database_unavailable'; detail: string };

let known: { readiness: Readiness; at: number } | null = null;

/**
 * Whether the database has every migration that this build needs, as this isolate knew it within the last two seconds. A newer database is fine:
 * migrations only add, so that a gateway can be rolled back.
 */
export async function readiness(core: Core): Promise<Readiness> {
  const now = core.clock();
  if (known === null || now - known.at >= FRESH_MS || now < known.at) {
    known = { readiness: await read(core), at: now };
  }
  return known.readiness;
}

async function read({ env }: Core): Promise<Readiness> {
  try {
    const applied = await appliedMigration(env.DB);
    return applied !== null && applied >= LATEST_MIGRATION
      ? { state: 'ready' }
      : { state: 'database_outdated', applied, required: LATEST_MIGRATION };
  } catch (error) {
    return { state: 'database_unavailable', detail: error instanceof Error ? error.message : 'unknown' };
  }
}
