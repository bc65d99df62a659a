import { z } from 'zod';

/** Table `walks` (migrations/0006): how far each walk over R2, or over the list of jobs, has come. A place that is lost only begins a walk anew. */

/** Where to go on (R2's cursor, or the last job's id); undefined: from the beginning. */
export async function readPlace(db: D1Database, walk: string): Promise<string | undefined> {
  const row = await db.prepare('SELECT cursor FROM walks WHERE name = ?').bind(walk).first();
  return z.object({ cursor: z.string().nullable() }).nullable().parse(row)?.cursor ?? undefined;
}

export async function writePlace(db: D1Database, walk: string, cursor: string | undefined): Promise<void> {
  await db
    .prepare('INSERT INTO walks (name, cursor) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET cursor = ?2')
    .bind(walk, cursor ?? null)
    .run();
}
