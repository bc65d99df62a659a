import type { Quota } from '../../contract/admission.ts';
import type { Caller, Core } from '../../services/context.ts';
import type { Actor } from '../../services/auth/actor.ts';
import type { Scope } from '../../domain/key/scopes.ts';
import type { SecretUse } from '../../services/auth/verify-key.ts';
import type { Env } from '../../env.ts';

/** Whether the key or token of a request would let it in now, and has `also`; for answers that go on for long. */
export type IsStillAuthorized = (also?: Scope) => Promise<boolean>;

/** The same for what is yet to be done, asked when the whole request is there: at once while it came in short. */
export type RecheckAuth = () => Promise<boolean>;

/** Whether the key behind a request has a scope besides the one its route asks for. */
export type HasScope = (scope: Scope) => boolean;

/**
 * What every route finds in its Hono context. `core` and `requestId` are set by the app before any door runs; `caller` by the
 * v1 door's check of the key, as are `begun` (ms, when that was), `standing`, `may` and `stillAllowed`, `secret` (for a key) and `readUntil`, the end of a read token in ms, null for a key, and `actor` on the routes that manage keys; `quota` by an answer that knows what is left.
 */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    core: Core;
    requestId: string;
    caller: Caller;
    actor: Actor;
    quota: Quota | undefined;
    secret: SecretUse;
    readUntil: number | null;
    hasScope: HasScope;
    isStillAuthorized: IsStillAuthorized;
    startedAt: number;
    recheckAuth: RecheckAuth;
  };
};
