import { AnswerError, ApiError, ConnectionError, type Problem } from './errors.ts';
import { type Shape, isObject, list, object, text } from './shape.ts';

/** What every call needs. */
export interface Connection {
  /** Origin of the gateway, without a slash at the end. */
  url: string;
  key: string;
  fetch: typeof fetch;
}

/** A call: path below the gateway's origin, and what `fetch` takes. */
export interface Call {
  method?: 'GET' | 'POST' | 'DELETE';
  headers?: Record<string, string>;
  query?: Record<string, string | number | undefined>;
  body?: BodyInit;
  signal?: AbortSignal | undefined;
}

/** Sends a call and answers the response if it is a success. Throws `ApiError` or `ConnectionError`. */
export async function send(connection: Connection, path: string, call: Call): Promise<Response> {
  const url = new URL(`${connection.url}${path}`);
  for (const [name, value] of Object.entries(call.query ?? {})) {
    if (value !== undefined) {
      url.searchParams.set(name, String(value));
    }
  }
  const request: RequestInit = {
    method: call.method ?? 'GET',
    headers: { ...call.headers, authorization: `Bearer ${connection.key}` },
    ...(call.body === undefined ? {} : { body: call.body }),
    ...(call.signal === undefined ? {} : { signal: call.signal }),
  };
  let response: Response;
  try {
    response = await connection.fetch(url, request);
  } catch (error) {
    call.signal?.throwIfAborted();
    throw new ConnectionError(`${connection.url} did not answer`, { cause: error });
  }
  if (!response.ok) {
    throw new ApiError(await readProblem(response));
  }
  return response;
}

/** `send`, with the JSON answer checked against its documented shape. */
export async function sendForJson<T>(connection: Connection, path: string, shape: Shape<T>, call: Call): Promise<T> {
  const response = await send(connection, path, call);
  let body: unknown;
  try {
    body = await response.json();
  } catch (error) {
    call.signal?.throwIfAborted();
    throw error instanceof SyntaxError
      ? new AnswerError(`${path} answered something that is not JSON`, { cause: error })
      : new ConnectionError(`${connection.url} cut its answer short`, { cause: error });
  }
  return checked(body, path, shape);
}

/** The value, if it has the shape; else an `AnswerError` that names the first field that does not fit. */
export function checked<T>(value: unknown, what: string, shape: Shape<T>): T {
  const problems: string[] = [];
  if (!shape(value, '', problems)) {
    throw new AnswerError(`${what} answered something unexpected: ${problems[0] ?? 'a field is missing'}`);
  }
  return value;
}

const fieldProblems = list(object({ pointer: text, code: text, detail: text }, {}));

async function readProblem(response: Response): Promise<Problem> {
  const raw: unknown = await response.json().catch(() => null);
  const body = isObject(raw) ? raw : {};
  const errors: unknown = body['errors'];
  const title = stringOr(body['title'], response.statusText);
  return {
    status: response.status,
    code: stringOr(body['code'], 'unknown'),
    title,
    detail: stringOr(body['detail'], title),
    requestId: response.headers.get('x-request-id'),
    errors: fieldProblems(errors, '', []) ? errors : [],
    retryAfter: secondsOf(response.headers.get('retry-after')),
  };
}

/** A day: the gateway never asks for more, and a longer wait counts as this. */
const MAX_RETRY_AFTER_S = 86_400;

function secondsOf(header: string | null): number | null {
  return header !== null && /^\d+$/.test(header) ? Math.min(Number(header), MAX_RETRY_AFTER_S) : null;
}

function stringOr(value: unknown, fallback: string): string {
  return typeof value === 'string' ? value : fallback;
}
