import { appliedMigration, LATEST_MIGRATION } from '../storage/d1/schema-version.ts';
import type { ServiceContext } from './context.ts';
import { errorMessage } from '../lib/error-message.ts';

/** How long an isolate caches the answer, so that many requests cause few D1 queries. */
const FRESH_MS = 2_000;

/** Whether the gateway can serve requests. `applied`: the newest migration of the database, or null. */
export type Readiness =
  | { state: 'ready' }
  | { state: 'database_outdated'; applied: string | null; required: string }
  | { state: 'database_unavailable'; detail: string };

let known: { readiness: Readiness; at: number } | null = null;

/**
 * Returns whether the database has all migrations that this build needs, at most `FRESH_MS` old. A newer database is
 * accepted: migrations only add, so that the gateway can be rolled back.
 */
export async function readiness(context: ServiceContext): Promise<Readiness> {
  const now = context.clock();
  if (known === null || now - known.at >= FRESH_MS || now < known.at) {
    known = { readiness: await read(context), at: now };
  }
  return known.readiness;
}

async function read({ env }: ServiceContext): Promise<Readiness> {
  try {
    const applied = await appliedMigration(env.DB);
    return applied !== null && applied >= LATEST_MIGRATION
      ? { state: 'ready' }
      : { state: 'database_outdated', applied, required: LATEST_MIGRATION };
  } catch (error) {
    return { state: 'database_unavailable', detail: errorMessage(error) };
  }
}
