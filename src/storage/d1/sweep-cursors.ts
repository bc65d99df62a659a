import { z } from 'zod';

/**
 * Table `sweep_cursors`: how far each sweep over R2, or over the list of jobs, has come. A lost cursor only restarts a sweep
 * from the beginning.
 */

/** Returns where a sweep continues: R2's cursor, or the last job's id. Undefined: from the beginning. */
export async function readSweepCursor(db: D1Database, sweep: string): Promise<string | undefined> {
  const row = await db.prepare('SELECT cursor FROM sweep_cursors WHERE name = ?').bind(sweep).first();
  return z.object({ cursor: z.string().nullable() }).nullable().parse(row)?.cursor ?? undefined;
}

/** Stores where a sweep continues. Undefined: from the beginning. */
export async function writeSweepCursor(db: D1Database, sweep: string, cursor: string | undefined): Promise<void> {
  await db
    .prepare('INSERT INTO sweep_cursors (name, cursor) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET cursor = ?2')
    .bind(sweep, cursor ?? null)
    .run();
}
