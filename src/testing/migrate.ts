import { applyD1Migrations } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { beforeAll } from 'vitest';

/** Every test file has a database of its own; this gives it its tables. */
beforeAll(() => applyD1Migrations(env.DB, env.TEST_MIGRATIONS));
