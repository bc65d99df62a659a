import type { Quota } from '../contract/admission.ts';
import type { Caller, Core } from '../core/context.ts';
import type { Actor } from '../core/keys/actor.ts';
import type { Env } from '../env.ts';

/** Whether the key or token of a request would let it in now; for answers that go on for long. */
export type StillAllowed = () => Promise<boolean>;

/**
 * What every route finds in its Hono context. `core` and `requestId` are set by the app before any door runs; `caller` by the
 * v1 door's check of the key, as is `stillAllowed`, and `actor` on the routes that manage keys; `quota` by an answer that knows what is left.
 */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    core: Core;
    requestId: string;
    caller: Caller;
    actor: Actor;
    quota: Quota | undefined;
    stillAllowed: StillAllowed;
  };
};
