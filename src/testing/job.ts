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

/** A real Job object in workerd, with RunPod and the time in the test's hand. */

export const newId = uuidV7(systemClock);
export const ACCOUNT = 'acc';
const FINISH_WITHIN_MS = 900_000;
export const WORKER = { id: 'w1', version: 'test' };

/** Time that stands still until the test lets some pass. Alarms ring only when the test rings them: see `ring`. */
export function heldClock(): { pass(ms: number): void } {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 1_000 });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  return { pass: (ms) => void vi.setSystemTime(Date.now() + ms) };
}

/** What the pretended RunPod was asked. */
export type RunpodCall = { operation: string; url: URL; body: unknown };

export type FakeRunpod = {
  calls: RunpodCall[];
  count(operation: 'run' | 'status' | 'cancel' | 'health'): number;
  /** Answers of each operation; a test replaces them. */
  answer: {
    run: () => Response | Promise<Response>;
    status: () => Response | Promise<Response>;
    cancel: () => Response | Promise<Response>;
    health: () => Response | Promise<Response>;
    /** Whatever else is fetched: what a result's URL leads to. */
    elsewhere: (url: URL) => Response | Promise<Response>;
  };
};

const RUNPOD_HOST = new URL(testBindings.RUNPOD_BASE_URL).host;

/** RunPod for the rest of the test: takes every run, says it is queued, cancels whatever is asked. */
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

/** What RunPod's `/health` answers: workers by state, and how many runs are queued. */
export const runpodHealth = (workers: Record<string, number>, inQueue = 0): Response =>
  Response.json({ jobs: { completed: 0, failed: 0, inProgress: 0, inQueue, retried: 0 }, workers });

/** An answer that the test holds back. It is given inside the object, which alone may read it. */
export function heldAnswer(): { promise: Promise<Response>; give: (rig: Rig, make: () => Response) => Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<Response>();
  return { promise, give: (rig, make) => runInDurableObject(rig.object, () => resolve(make())) };
}

/** Tries again, each time after all that waits in the runtime had its turn, until it holds. Moves no clock. */
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

/** A job's object. A stub does not survive a crash of its object, so there is a new one each time. */
export type Rig = { readonly id: string; readonly stub: Stub<JobRpc>; readonly object: DurableObjectStub };

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

export const rigOf = (id: string): Rig => ({
  id,
  get stub() {
    return env.JOB.getByName(id);
  },
  get object() {
    return env.JOB.getByName(id);
  },
});

/** A new job in its object. */
export async function created(over: Partial<NewJob> = {}): Promise<Rig> {
  const job = newJob(over);
  const rig = rigOf(job.id);
  await rig.stub.create(job);
  return rig;
}

/** A new job that RunPod took and a worker claimed; `claim` is the worker's. */
export async function claimed(over: Partial<NewJob> = {}): Promise<Rig & { claim: string }> {
  const rig = await created(over);
  await settled(rig);
  const claim = crypto.randomUUID();
  await takes(rig, claim, 1);
  return Object.assign(rig, { claim });
}

export async function takes(rig: Rig, claim: string, attempt: number): Promise<void> {
  const answer = await rig.stub.claim({ attempt, claim, worker: WORKER });
  expect(answer).toHaveProperty('granted');
}

export async function view(rig: Rig): Promise<JobView> {
  const found = await rig.stub.view(ACCOUNT);
  if (found === null) {
    throw new Error('there is no such job');
  }
  return found;
}

/** The effects that wait or are being done, by key. That one is done may be stored a little later (durable-objects/job/outbox.ts). */
export const outbox = (rig: Rig): Promise<string[]> =>
  runInDurableObject<Job, string[]>(rig.object, (job) => job['store'].pending.keys().toSorted());

/** Waits until the object has done all it wanted done. */
export const settled = (rig: Rig): Promise<void> => until(async () => expect(await outbox(rig)).toEqual([]));

/** When the object's alarm is set to ring; null when it is not. */
export const alarmOf = (rig: Rig): Promise<number | null> =>
  runInDurableObject<Job, number | null>(rig.object, (_job, state) => state.storage.getAlarm());

/** Rings the object's alarm now. */
export async function ring(rig: Rig): Promise<void> {
  expect(await runDurableObjectAlarm(rig.object)).toBe(true);
}

/** One end of a socket to the object, read frame by frame. */
export class Line {
  readonly socket: WebSocket;
  private readonly frames: unknown[] = [];
  private readonly waiting: ((frame: unknown) => void)[] = [];
  readonly closed: Promise<{ code: number }>;

  constructor(socket: WebSocket) {
    this.socket = socket;
    socket.addEventListener('message', (event) => {
      const text = String(event.data);
      // The one frame that is no JSON: the platform's answer to `ping`.
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

  /** The next frame; waits for it. */
  next(): Promise<unknown> {
    return this.frames.length > 0
      ? Promise.resolve(this.frames.shift())
      : new Promise((resolve) => void this.waiting.push(resolve));
  }

  /** Everything until the other side closes. */
  async rest(): Promise<unknown[]> {
    await this.closed;
    return this.frames.splice(0);
  }

  say(frame: unknown): void {
    this.socket.send(JSON.stringify(frame));
  }

  /** Sends a frame and gives the answer to it. */
  ask(frame: unknown): Promise<unknown> {
    this.say(frame);
    return this.next();
  }
}

/** A WebSocket door of the object: the line, or the status it was refused with. */
async function dial(rig: Rig, path: string, query: Record<string, string>): Promise<Line | number> {
  const url = new URL(`https://job/${path}`);
  for (const [name, value] of Object.entries(query)) {
    url.searchParams.set(name, value);
  }
  const response = await rig.stub.fetch(url, { headers: { upgrade: 'websocket' } });
  return response.webSocket === null ? response.status : new Line(response.webSocket);
}

export const dialChannel = (rig: Rig, attempt: number, claim: string): Promise<Line | number> =>
  dial(rig, 'channel', { attempt: String(attempt), claim });

export const dialWatch = (rig: Rig, after: number | null, account = ACCOUNT): Promise<Line | number> =>
  dial(rig, 'watch', { account, ...(after === null ? {} : { after: String(after) }) });

/** A line that must come about. */
export async function connected(line: Promise<Line | number>): Promise<Line> {
  const answer = await line;
  if (typeof answer === 'number') {
    throw new Error(`refused with ${answer}`);
  }
  return answer;
}
