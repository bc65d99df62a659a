import type { Config, NodePolicy } from '../config/schema.ts';
import type { Env } from '../env.ts';
import type { Clock } from '../lib/clock.ts';
import type { NewId } from '../lib/ids.ts';
import type { NewSeed } from '../lib/seeds.ts';

/** What a use case of the core works with. Built once per request by the app, or by a test. */
export type Core = { env: Env; config: Config; clock: Clock; newId: NewId; newSeed: NewSeed };

/**
 * Who asks: the account behind a verified key, and what the key may use. Scopes are checked before a use case is called. `null`: no
 * restriction. With a read token it is the key that made the token.
 */
export type Caller = {
  account: string;
  key: string;
  environment: 'live' | 'test';
  endpoints: readonly string[] | null;
  templates: readonly string[] | null;
  nodes: NodePolicy | null;
};
