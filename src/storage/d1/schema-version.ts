/**
 * The newest file in `migrations/` that this build needs. wrangler applies them in the order of their names and stops at the first that fails, so
 * a database that has this one has those before it. A test holds it against the folder.
 */
export const LATEST_MIGRATION = '0009_fewer_rows.sql';

/** The newest migration that the database has; null for a database without any. Throws where D1 does not answer. */
export async function appliedMigration(db: D1Database): Promise<string | null> {
  try {
    // wrangler's own record (`migrations_table`).
    return await db.prepare('SELECT max(name) AS name FROM d1_migrations').first<string>('name');
  } catch (error) {
    if (error instanceof Error && error.message.includes('no such table')) {
      return null;
    }
    throw error;
  }
}
