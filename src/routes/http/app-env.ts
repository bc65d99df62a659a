import type { Quota } from '../../contract/admission.ts';
import type { Caller, ServiceContext } from '../../services/context.ts';
import type { Actor } from '../../services/auth/actor.ts';
import type { Scope } from '../../domain/key/scopes.ts';
import type { SecretUse } from '../../services/auth/verify-key.ts';
import type { Env } from '../../env.ts';

/** Whether the key or token of a request is still valid, and has the scope `also`; for responses that take long. */
export type IsStillAuthorized = (also?: Scope) => Promise<boolean>;

/** The same, asked when the whole request has arrived. It resolves at once for a request that was fast. */
export type RecheckAuth = () => Promise<boolean>;

/** Whether the key of a request has a scope besides the one of its route. */
export type HasScope = (scope: Scope) => boolean;

/**
 * The variables of every route's Hono context. The app sets `context` and `requestId` before any route. The
 * authorization of v1 sets:
 * - `caller`; `actor` for routes that manage keys; `secret` for a key
 * - `startedAt`: ms, the time of the check
 * - `readUntil`: the end of a read token in ms; null for a key
 * - `recheckAuth`, `hasScope`, `isStillAuthorized`
 *
 * `quota` is set by a response that knows the remaining quota.
 */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    context: ServiceContext;
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
