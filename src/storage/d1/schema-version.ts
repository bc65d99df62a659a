/**
 * The newest file in `migrations/` that this build needs. Wrangler applies migrations in order of their names and stops
 * at the first failure, so a database with this one has all earlier ones. A test compares it with the folder.
 */
export const LATEST_MIGRATION = '0001_initial.sql';

/** Returns the newest migration of the database; null for a database without any. Throws when D1 does not respond. */
export async function appliedMigration(db: D1Database): Promise<string | null> {
  try {
    // Wrangler's own table (`migrations_table`).
    return await db.prepare('SELECT max(name) AS name FROM d1_migrations').first<string>('name');
  } catch (error) {
    if (error instanceof Error && error.message.includes('no such table')) {
      return null;
    }
    throw error;
  }
}
