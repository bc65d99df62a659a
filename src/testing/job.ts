import { runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished, vi } from 'vitest';
import { testBindings } from '../../test/gateway-bindings.ts';
import { readWatchFrame } from '../contract/events.ts';
import type { JobView } from '../contract/job.ts';
import type { NewJob } from '../contract/new-job.ts';
import type { JobRpc, Stub } from '../contract/rpc.ts';
import type { Job } from '../durable-objects/job/object.ts';
import { systemClock } from '../lib/clock.ts';
import { uuidV7 } from '../lib/ids.ts';

/** A real Job object in workerd; the test controls RunPod and the clock. */

export const newId = uuidV7(systemClock);
export const ACCOUNT = 'acc';
const FINISH_WITHIN_MS = 900_000;
export const WORKER = { id: 'w1', version: 'test' };

/** Stops the clock; `pass` moves it. An alarm runs only when the test runs it: see `runAlarm`. */
export function frozenClock(): { pass(ms: number): void } {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1_000 });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  return { pass: (ms) => void vi.setSystemTime(Date.now() + ms) };
}

/** A request that the fake RunPod received. */
export type RunpodCall = { operation: string; url: URL; body: unknown };

export type FakeRunpod = {
  calls: RunpodCall[];
  count(operation: 'run' | 'status' | 'cancel' | 'health'): number;
  /** The response to each operation; a test replaces them. */
  answer: {
    run: () => Response | Promise<Response>;
    status: () => Response | Promise<Response>;
    cancel: () => Response | Promise<Response>;
    health: () => Response | Promise<Response>;
    /** Any other URL, such as that of a result. */
    elsewhere: (url: URL) => Response | Promise<Response>;
  };
};

const RUNPOD_HOST = new URL(testBindings.RUNPOD_BASE_URL).host;

/** A RunPod for the rest of the test. It accepts every run, reports it as queued, and accepts every cancel. */
export function fakeRunpod(): FakeRunpod {
  let runs = 0;
  const fake: FakeRunpod = {
    calls: [],
    count: (operation) => fake.calls.filter((call) => call.operation === operation).length,
    answer: {
      run: () => Response.json({ id: `run-${(runs += 1)}`, status: 'IN_QUEUE' }),
      status: () => Response.json({ id: 'run', status: 'IN_QUEUE' }),
      cancel: () => Response.json({ id: 'run', status: 'CANCELLED' }),
      health: () => runpodHealth({ idle: 1 }),
      elsewhere: () => new Response(null, { status: 404 }),
    },
  };
  const spy = vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const request = new Request(input, init);
    const url = new URL(request.url);
    const operation = url.host === RUNPOD_HOST ? (url.pathname.split('/')[3] ?? '') : 'elsewhere';
    fake.calls.push({
      operation,
      url,
      body: request.method === 'POST' ? await request.json().catch(() => null) : null,
    });
    const { run, status, cancel, health, elsewhere } = fake.answer;
    const answer = { run, status, cancel, health }[operation];
    return answer === undefined ? elsewhere(url) : answer();
  });
  onTestFinished(() => spy.mockRestore());
  return fake;
}

/** A response of RunPod's `/health`: workers by state, and the number of queued runs. */
export const runpodHealth = (workers: Record<string, number>, inQueue = 0): Response =>
  Response.json({ jobs: { completed: 0, failed: 0, inProgress: 0, inQueue, retried: 0 }, workers });

/** A response that the test sends later. `give` creates it inside the object: no other object may read its body. */
export function deferredAnswer(): {
  promise: Promise<Response>;
  give: (harness: JobHarness, make: () => Response) => Promise<void>;
} {
  const { promise, resolve } = Promise.withResolvers<Response>();
  return { promise, give: (harness, make) => runInDurableObject(harness.object, () => resolve(make())) };
}

/** Retries `holds` until it passes, with one turn of the event loop between tries. Does not move the clock. */
export async function until(holds: () => unknown): Promise<void> {
  for (let tries = 0; ; tries += 1) {
    try {
      await holds();
      return;
    } catch (error) {
      if (tries === MAX_TRIES) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
const MAX_TRIES = 2_000;

/** A job and its object. `stub` is new on each access: a stub does not survive a crash of its object. */
export type JobHarness = { readonly id: string; readonly stub: Stub<JobRpc>; readonly object: DurableObjectStub };

export const newJob = (over: Partial<NewJob> = {}): NewJob => ({
  id: newId(),
  account: ACCOUNT,
  key: 'key-1',
  price_per_second: null,
  waits: false,
  endpoint: 'default',
  fallbacks: [],
  worker: 'worker-gpu',
  workflow: JSON.stringify({ '1': { class_type: 'EmptyImage', inputs: {} } }),
  inputs: [],
  options: { previews: true, temp_outputs: false, metadata: true },
  metadata: {},
  resolved: { seeds: [], overrides: [], clamped: [] },
  created_at: Date.now(),
  deadline: Date.now() + FINISH_WITHIN_MS,
  start_deadline: null,
  queue_position: null,
  ...over,
});

export const harnessOf = (id: string): JobHarness => ({
  id,
  get stub() {
    return env.JOB.getByName(id);
  },
  get object() {
    return env.JOB.getByName(id);
  },
});

/** Creates a job in its object. */
export async function createJob(over: Partial<NewJob> = {}): Promise<JobHarness> {
  const job = newJob(over);
  const harness = harnessOf(job.id);
  await harness.stub.create(job);
  return harness;
}

/** Creates a job, sends its run, and claims its first attempt. */
export async function createClaimedJob(over: Partial<NewJob> = {}): Promise<JobHarness & { claim: string }> {
  const harness = await createJob(over);
  await drained(harness);
  const claim = crypto.randomUUID();
  await claimAttempt(harness, claim, 1);
  return Object.assign(harness, { claim });
}

export async function claimAttempt(harness: JobHarness, claim: string, attempt: number): Promise<void> {
  const answer = await harness.stub.claim({ attempt, claim, worker: WORKER });
  expect(answer).toHaveProperty('granted');
}

export async function view(harness: JobHarness): Promise<JobView> {
  const found = await harness.stub.view(ACCOUNT);
  if (found === null) {
    throw new Error('the job does not exist');
  }
  return found;
}

/** Keys of the effects that are pending or in progress. A finished one may stay for a moment (durable-objects/job/outbox.ts). */
export const outbox = (harness: JobHarness): Promise<string[]> =>
  runInDurableObject<Job, string[]>(harness.object, (job) => job['store'].pending.keys().toSorted());

/** Waits until the outbox is empty. */
export const drained = (harness: JobHarness): Promise<void> =>
  until(async () => expect(await outbox(harness)).toEqual([]));

/** Time of the object's alarm; null without one. */
export const alarmOf = (harness: JobHarness): Promise<number | null> =>
  runInDurableObject<Job, number | null>(harness.object, (_job, state) => state.storage.getAlarm());

/** Runs the object's alarm now. */
export async function runAlarm(harness: JobHarness): Promise<void> {
  expect(await runDurableObjectAlarm(harness.object)).toBe(true);
}

/** One end of a socket to the object, read frame by frame. */
export class JobSocket {
  readonly socket: WebSocket;
  private readonly frames: unknown[] = [];
  private readonly waiting: ((frame: unknown) => void)[] = [];
  readonly closed: Promise<{ code: number }>;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.addEventListener('message', (event) => {
      const text = String(event.data);
      // `pong`, the platform's answer to `ping`, is the only frame that is not JSON.
      const frame: unknown =
        text === 'pong' ? text : text.startsWith('{"event"') ? readWatchFrame(text).frame() : JSON.parse(text);
      const reader = this.waiting.shift();
      if (reader === undefined) {
        this.frames.push(frame);
      } else {
        reader(frame);
      }
    });
    this.closed = new Promise((resolve) => {
      socket.addEventListener('close', (event) => resolve({ code: event.code }));
    });
    socket.accept();
  }

  /** Waits for the next frame. */
  next(): Promise<unknown> {
    return this.frames.length > 0
      ? Promise.resolve(this.frames.shift())
      : new Promise((resolve) => void this.waiting.push(resolve));
  }

  /** All frames until the other side closes. */
  async rest(): Promise<unknown[]> {
    await this.closed;
    return this.frames.splice(0);
  }

  say(frame: unknown): void {
    this.socket.send(JSON.stringify(frame));
  }

  /** Sends a frame and waits for the answer. */
  ask(frame: unknown): Promise<unknown> {
    this.say(frame);
    return this.next();
  }
}

/** Opens a WebSocket of the object: the socket, or the status of the refusal. */
async function dial(harness: JobHarness, path: string, query: Record<string, string>): Promise<JobSocket | number> {
  const url = new URL(`https://job/${path}`);
  for (const [name, value] of Object.entries(query)) {
    url.searchParams.set(name, value);
  }
  const response = await harness.stub.fetch(url, { headers: { upgrade: 'websocket' } });
  return response.webSocket === null ? response.status : new JobSocket(response.webSocket);
}

export const dialChannel = (harness: JobHarness, attempt: number, claim: string): Promise<JobSocket | number> =>
  dial(harness, 'channel', { attempt: String(attempt), claim });

export const dialWatch = (harness: JobHarness, after: number | null, account = ACCOUNT): Promise<JobSocket | number> =>
  dial(harness, 'watch', { account, ...(after === null ? {} : { after: String(after) }) });

/** Throws unless the socket was accepted. */
export async function connected(line: Promise<JobSocket | number>): Promise<JobSocket> {
  const answer = await line;
  if (typeof answer === 'number') {
    throw new Error(`refused with ${answer}`);
  }
  return answer;
}
