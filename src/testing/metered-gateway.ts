import gateway, { Account, Endpoint, Job, Webhook } from '../index.ts';
import type { Env } from '../env.ts';
import { Meter, meteredEnv, meterStorage } from './metering.ts';

/** The gateway with a meter on everything that costs. `GET /meter` reads it, `DELETE /meter` resets it. For `npm run bench -- price`. */

const meter = new Meter();

/** How much of an object runs at once, and since when any of it does. */
class Activity {
  private running = 0;
  private since = 0;

  /** Runs it, and counts the object as active until the returned promise settles. */
  async during<T>(work: () => T | Promise<T>): Promise<T> {
    this.begin();
    try {
      return await work();
    } finally {
      this.end();
    }
  }

  begin(): void {
    if (this.running === 0) {
      this.since = performance.now();
    }
    this.running += 1;
  }

  end(): void {
    this.running -= 1;
    if (this.running === 0) {
      meter.objectMs += performance.now() - this.since;
    }
  }
}

/** Calls that the platform makes and bills by itself; calls over RPC are counted where they are made. */
const BILLED: Readonly<Record<string, 'objectRequests' | 'objectMessages'>> = {
  alarm: 'objectRequests',
  webSocketMessage: 'objectMessages',
};

const activities = new WeakMap<object, Activity>();

const activityOf = (object: object): Activity => {
  const activity = activities.get(object) ?? new Activity();
  activities.set(object, activity);
  return activity;
};

/** Metered before the object's constructor runs, which reads its storage. */
function enter(ctx: DurableObjectState, env: Env): Env {
  meterStorage(ctx.storage, meter);
  const activity = activityOf(ctx);
  const waitUntil = ctx.waitUntil.bind(ctx);
  Object.defineProperty(ctx, 'waitUntil', {
    value: (promise: Promise<unknown>) => waitUntil(activity.during(() => promise)),
  });
  return meteredEnv(env, meter);
}

/** Wraps each method of a class, where RPC looks for it. A method that calls another is one call; its time counts once. */
function meterMethods(metered: object, original: object): void {
  for (const [name, { value: method }] of Object.entries(Object.getOwnPropertyDescriptors(original))) {
    if (typeof method !== 'function' || name === 'constructor') {
      continue;
    }
    Object.defineProperty(metered, name, {
      value(this: { ctx: object }, ...args: unknown[]): unknown {
        const billed = BILLED[name];
        if (billed !== undefined) {
          meter[billed] += 1;
        }
        const activity = activityOf(this.ctx);
        activity.begin();
        const answer: unknown = Reflect.apply(method, this, args);
        if (answer instanceof Promise) {
          return answer.finally(() => activity.end());
        }
        activity.end();
        return answer;
      },
    });
  }
}

class MeteredJob extends Job {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, enter(ctx, env));
  }
}
class MeteredAccount extends Account {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, enter(ctx, env));
  }
}
class MeteredEndpoint extends Endpoint {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, enter(ctx, env));
  }
}
class MeteredWebhook extends Webhook {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, enter(ctx, env));
  }
}
meterMethods(MeteredJob.prototype, Job.prototype);
meterMethods(MeteredAccount.prototype, Account.prototype);
meterMethods(MeteredEndpoint.prototype, Endpoint.prototype);
meterMethods(MeteredWebhook.prototype, Webhook.prototype);

export { MeteredAccount as Account, MeteredEndpoint as Endpoint, MeteredJob as Job, MeteredWebhook as Webhook };

// oxlint-disable-next-line import/no-default-export -- the form of a Worker
export default {
  fetch(request, env, ctx) {
    if (new URL(request.url).pathname === '/meter') {
      const seen = { ...meter };
      if (request.method === 'DELETE') {
        meter.reset();
      }
      return Response.json(seen);
    }
    meter.workerRequests += 1;
    return gateway.fetch(request, meteredEnv(env, meter), ctx);
  },
  scheduled(controller, env) {
    meter.workerRequests += 1;
    return gateway.scheduled(controller, meteredEnv(env, meter));
  },
} satisfies ExportedHandler<Env>;
