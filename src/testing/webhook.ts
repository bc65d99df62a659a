import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { Webhook as Verifier } from 'standardwebhooks';
import { expect, onTestFinished, vi } from 'vitest';
import type { z } from 'zod';
import {
  deliveryPageSchema,
  deliverySchema,
  webhookSchema,
  webhookWithSecretSchema,
  type ApiDelivery,
  type ApiWebhook,
} from '../routes/v1/webhooks/schemas.ts';
import { newClient, postJson, type Call } from './gateway.ts';
import { until } from './job.ts';

/** Webhooks and the receivers behind them, for tests inside workerd. */

export type Received = { url: string; headers: Record<string, string>; body: string; init: RequestInit };

/** How a receiver responds; the default is 204. */
export type Answering = (received: Received) => Response | Promise<Response>;

export type Receivers = {
  /** Everything that was sent, in order. */
  received: Received[];
  at(url: string): Received[];
  answer: (url: string, answering: Answering) => void;
};

/** Receivers for the rest of the test. Any other request goes to a RunPod that accepts every run. */
export function receivers(): Receivers {
  const answers = new Map<string, Answering>();
  const received: Received[] = [];
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init = {}) => {
    const url = input instanceof Request ? input.url : String(input);
    if (url.startsWith('https://runpod.test/')) {
      return Response.json({ id: 'run-1', status: 'IN_QUEUE' });
    }
    const seen = { url, headers: Object.fromEntries(new Headers(init.headers)), body: String(init.body), init };
    received.push(seen);
    return (await answers.get(url)?.(seen)) ?? new Response(null, { status: 204 });
  });
  onTestFinished(() => spy.mockRestore());
  return {
    received,
    at: (url) => received.filter((each) => each.url === url),
    answer: (url, answering) => void answers.set(url, answering),
  };
}

/** The first request received; throws when there is none. */
export function first(received: readonly Received[]): Received {
  const [one] = received;
  if (one === undefined) {
    throw new Error('nothing was received');
  }
  return one;
}

/** Responds with this status every time. */
export const always =
  (status: number, headers: Record<string, string> = {}): Answering =>
  () =>
    new Response(null, { status, headers });

/** Verifies the signature with the official library and returns the body. */
export const verified = (secret: string, { body, headers }: Received): unknown =>
  new Verifier(secret).verify(body, headers);

export const urlFor = (name: string): string => `https://${name}.acme.com/hook`;

const answered = (response: Response, status: number): void => expect(response.status).toBe(status);

/** A webhook as its owner sees it. */
export class Hook {
  readonly call: Call;
  readonly id: string;
  readonly url: string;
  secret: string;

  constructor(call: Call, made: z.infer<typeof webhookWithSecretSchema>) {
    this.call = call;
    this.id = made.id;
    this.url = made.url;
    this.secret = made.secret;
  }

  path(rest = ''): string {
    return `/v1/webhooks/${this.id}${rest}`;
  }

  async get(): Promise<ApiWebhook> {
    return webhookSchema.parse(await (await this.call(this.path())).json());
  }

  async change(body: Record<string, unknown>): Promise<ApiWebhook> {
    const response = await this.call(this.path(), { ...postJson(body), method: 'PATCH' });
    answered(response, 200);
    return webhookSchema.parse(await response.json());
  }

  /** A test event; gives its id. */
  async ping(): Promise<string> {
    const response = await this.call(this.path('/ping'), { method: 'POST' });
    answered(response, 202);
    return deliverySchema.parse(await response.json()).id;
  }

  async log(query = ''): Promise<z.infer<typeof deliveryPageSchema>> {
    return deliveryPageSchema.parse(await (await this.call(this.path(`/deliveries${query}`))).json());
  }

  async delivery(id: string): Promise<ApiDelivery> {
    return deliverySchema.parse(await (await this.call(this.path(`/deliveries/${id}`))).json());
  }

  /** Waits until the delivery has `attempts` attempts, and returns it. */
  async tried(id: string, attempts: number): Promise<ApiDelivery> {
    await until(async () => {
      const tried = (await this.delivery(id)).attempts.length;
      if (tried !== attempts) {
        throw new Error(`tried ${tried} times, not ${attempts}`);
      }
    });
    return this.delivery(id);
  }

  /** Hands an event to the webhook as a job would; gives its id. */
  async hand(id = `evt_${crypto.randomUUID()}`): Promise<string> {
    const body = JSON.stringify({ type: 'job.succeeded', timestamp: new Date().toISOString(), sequence: 1, data: {} });
    await env.WEBHOOK.getByName(this.id).enqueue({ id, type: 'job.succeeded', job: null, body });
    return id;
  }

  get object(): DurableObjectStub {
    return env.WEBHOOK.getByName(this.id);
  }

  /** When the alarm is set to ring; null when it is not. */
  alarm(): Promise<number | null> {
    return runInDurableObject(this.object, (_webhook, state) => state.storage.getAlarm());
  }

  async ring(): Promise<void> {
    if (!(await runDurableObjectAlarm(this.object))) {
      throw new Error('no alarm was set');
    }
  }
}

/** Ends all objects as a crash does; their storage stays. */
export const crash = abortAllDurableObjects;

/** Creates a webhook of an account. */
export async function hookOf(call: Call, body: Record<string, unknown> = {}): Promise<Hook> {
  const response = await call('/v1/webhooks', postJson({ url: urlFor(crypto.randomUUID()), ...body }));
  answered(response, 201);
  return new Hook(call, webhookWithSecretSchema.parse(await response.json()));
}

/** Creates a webhook of a new account. */
export async function newHook(body: Record<string, unknown> = {}): Promise<Hook & { account: string }> {
  const { account, call } = await newClient();
  return Object.assign(await hookOf(call, body), { account });
}
