import { AnswerError, ApiError, ComfyEdgeError, ConnectionError } from './errors.ts';
import { type RawEvent, readEvents } from './event-stream.ts';
import { type Connection, checked, send } from './http.ts';
import type { Timing } from './timing.ts';
import { type JobEvent, eventData, isFinal } from './types.ts';

/** Three keep-alives of the gateway (15 s each, docs/reference/events.md) missed: the connection is dead. */
const SILENCE_MS = 45_000;
/** First wait before a reconnect; doubles up to the longest. */
const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5_000;
/** How long reconnecting may fail before `watch` throws. */
const GIVE_UP_MS = 5 * 60_000;

export interface WatchOptions {
  /** Number of the last event already seen; 0 for the whole log. Left out: a snapshot first, then what follows. */
  after?: number;
  signal?: AbortSignal;
}

/**
 * The events of a job, each numbered one once and in order, up to and including the one with the final status.
 * Reconnects with `Last-Event-ID` when a connection is lost. Throws `ApiError` when the gateway refuses (404, 401 …),
 * `ConnectionError` when it cannot be reached for five minutes, and the reason of `signal` when that aborts.
 */
export async function* watchJob(
  connection: Connection,
  timing: Timing,
  id: string,
  options: WatchOptions,
): AsyncGenerator<JobEvent, void, void> {
  const path = `/v1/jobs/${encodeURIComponent(id)}/events`;
  let last = options.after;
  let lastSuccess = timing.now();
  for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
    try {
      for await (const event of readOnce(connection, timing, path, last, options.signal)) {
        wait = FIRST_WAIT_MS;
        lastSuccess = timing.now();
        if (event === 'over') {
          return;
        }
        // A number seen before can come again when a proxy repeats a response; previews have none.
        if ('id' in event) {
          if (event.event !== 'snapshot' && last !== undefined && event.id <= last) {
            continue;
          }
          last = event.id;
        }
        yield event;
        if ((event.event === 'snapshot' || event.event === 'status') && isFinal(event.data.status)) {
          return;
        }
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isPassing(error) || timing.now() - lastSuccess > GIVE_UP_MS) {
        throw error;
      }
    }
    // Half of the wait by chance, so that many watchers do not come back at the same moment.
    await timing.delay(wait * (0.5 + timing.random() / 2), options.signal);
  }
}

/** One connection: its events until it ends, `over` when the gateway says that nothing will follow. */
async function* readOnce(
  connection: Connection,
  timing: Timing,
  path: string,
  last: number | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<JobEvent | 'over', void, void> {
  const own = new AbortController();
  const both = signal === undefined ? own.signal : AbortSignal.any([signal, own.signal]);
  let silence = new AbortController();
  const listenForSilence = () => {
    silence.abort();
    silence = new AbortController();
    timing.delay(SILENCE_MS, silence.signal).then(
      () => own.abort(new ConnectionError('The event stream fell silent')),
      () => undefined,
    );
  };
  try {
    listenForSilence();
    const response = await send(connection, path, {
      headers: { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': String(last) }) },
      signal: both,
    });
    if (response.status === 204) {
      yield 'over';
      return;
    }
    if (response.body === null) {
      throw new AnswerError(`${path} answered without a body`);
    }
    for await (const raw of readEvents(response.body, listenForSilence)) {
      const event = parseEvent(raw, path);
      if (event !== null) {
        yield event;
      }
    }
  } catch (error) {
    throw error instanceof ComfyEdgeError ? error : new ConnectionError('The event stream was cut', { cause: error });
  } finally {
    silence.abort();
    own.abort();
  }
}

/** True for what a later try may mend. */
function isPassing(error: unknown): boolean {
  return error instanceof ApiError
    ? error.status >= 500 || error.status === 429 || error.status === 408
    : error instanceof ConnectionError;
}

/** The event in its documented shape; null for a kind this client does not know yet. */
function parseEvent(raw: RawEvent, path: string): JobEvent | null {
  const what = `${path} (${raw.name})`;
  if (raw.name === 'preview') {
    return { event: 'preview', data: checked(parseJson(raw.data, what), what, eventData.preview) };
  }
  const id = Number(raw.id ?? Number.NaN);
  switch (raw.name) {
    case 'snapshot':
      return {
        event: 'snapshot',
        id: numbered(id, what),
        data: checked(parseJson(raw.data, what), what, eventData.snapshot),
      };
    case 'status':
      return {
        event: 'status',
        id: numbered(id, what),
        data: checked(parseJson(raw.data, what), what, eventData.status),
      };
    case 'progress':
      return {
        event: 'progress',
        ...(raw.id === undefined ? {} : { id: numbered(id, what) }),
        data: checked(parseJson(raw.data, what), what, eventData.progress),
      };
    case 'output':
      return {
        event: 'output',
        id: numbered(id, what),
        data: checked(parseJson(raw.data, what), what, eventData.output),
      };
    case 'log':
      return { event: 'log', id: numbered(id, what), data: checked(parseJson(raw.data, what), what, eventData.log) };
    default:
      return null;
  }
}

function numbered(id: number, what: string): number {
  if (!Number.isSafeInteger(id) || id < 0) {
    throw new AnswerError(`${what} has no number`);
  }
  return id;
}

function parseJson(data: string, what: string): unknown {
  try {
    return JSON.parse(data);
  } catch (error) {
    throw new AnswerError(`${what} is not JSON`, { cause: error });
  }
}
