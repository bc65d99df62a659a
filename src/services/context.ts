import type { Config, NodePolicy } from '../config/schema.ts';
import type { Env } from '../env.ts';
import type { Clock } from '../lib/clock.ts';
import type { NewId } from '../lib/ids.ts';
import type { NewSeed } from '../lib/seeds.ts';

/** The dependencies of every service. The app builds one per request, and tests build their own. */
export type ServiceContext = { env: Env; config: Config; clock: Clock; newId: NewId; newSeed: NewSeed };

/**
 * The caller of a service: the account of a verified key, and the key's restrictions (`null`: none). Routes check
 * scopes before they call a service. For a read token, the key that created the token.
 */
export type Caller = {
  account: string;
  key: string;
  environment: 'live' | 'test';
  endpoints: readonly string[] | null;
  templates: readonly string[] | null;
  nodes: NodePolicy | null;
};
