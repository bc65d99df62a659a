import {
  MAX_SENDS_PER_HOUR,
  type DeliveryStatus,
  type DeliveryView,
  type WebhookRefusal,
} from '../../contract/webhook.ts';
import { isUuidV7 } from '../../lib/ids.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { pingEvent } from '../../domain/webhook/payload.ts';
import { invalidCursor, type Page, type PageRequest } from '../paginate.ts';
import { check } from './manage.ts';
import { redeliverySchema } from './request.ts';

/** Lists and repeats the deliveries of a webhook. */

/** Returns a page of a webhook's deliveries, newest first. */
export async function listDeliveries(
  context: ServiceContext,
  caller: Caller,
  id: string,
  page: PageRequest & { status: DeliveryStatus | null },
): Promise<Result<Page<DeliveryView>, Problem>> {
  const before = page.cursor === null ? null : readCursor(page.cursor);
  if (page.cursor !== null && before === null) {
    return fail(invalidCursor);
  }
  const asked = { limit: page.limit, before, status: page.status };
  const found = isUuidV7(id)
    ? await withRpcRetry(() => context.env.WEBHOOK.getByName(id).deliveries(caller.account, asked))
    : null;
  if (found === null) {
    return fail(notFound);
  }
  return ok({ items: found.deliveries, next_cursor: found.next === null ? null : writeCursor(found.next) });
}

/** Returns one delivery, with its body. */
export async function getDelivery(
  context: ServiceContext,
  caller: Caller,
  id: string,
  delivery: string,
): Promise<Result<DeliveryView, Problem>> {
  const found = isUuidV7(id)
    ? await withRpcRetry(() => context.env.WEBHOOK.getByName(id).delivery(caller.account, delivery))
    : null;
  return found === null ? fail(notFound) : ok(found);
}

/** Sends a test event once, regardless of the filter. */
export async function pingWebhook(
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<DeliveryView, Problem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const event = pingEvent(context.newId(), id, context.clock());
  return queued(await withRpcRetry(() => context.env.WEBHOOK.getByName(id).ping(caller.account, event)));
}

/** Sends one delivery again, with the same id and body and a new retry schedule. */
export async function redeliver(
  context: ServiceContext,
  caller: Caller,
  id: string,
  delivery: string,
): Promise<Result<DeliveryView, Problem>> {
  return isUuidV7(id)
    ? queued(await withRpcRetry(() => context.env.WEBHOOK.getByName(id).redeliver(caller.account, delivery)))
    : fail(notFound);
}

/** Sends all deliveries of a time range and status again. Returns their number. */
export async function redeliverRange(
  context: ServiceContext,
  caller: Caller,
  id: string,
  body: unknown,
): Promise<Result<number, Problem>> {
  const checked = check(redeliverySchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  const { since, until, status } = checked.value;
  const range = {
    since: Date.parse(since),
    // Deliveries that arrive after the call are not included.
    until: until === undefined ? context.clock() : Date.parse(until),
    status: status === 'any' ? null : status,
  };
  return queued(await withRpcRetry(() => context.env.WEBHOOK.getByName(id).redeliverRange(caller.account, range)));
}

function queued<T>(answer: { queued: T } | { refused: WebhookRefusal }): Result<T, Problem> {
  if ('queued' in answer) {
    return ok(answer.queued);
  }
  const { refused } = answer;
  if (typeof refused === 'number') {
    return fail({
      code: 'rate_limited',
      detail: `A webhook can be sent on request at most ${MAX_SENDS_PER_HOUR} times an hour. Try again later.`,
      retryAfterS: Math.max(1, Math.ceil(refused / 1000)),
    });
  }
  return fail(
    refused === 'disabled'
      ? { code: 'webhook_disabled', detail: 'The webhook is disabled. Enable it before you send.' }
      : notFound,
  );
}

/** A cursor is base64url of a version letter and the number of the last delivery of a page. It is opaque to clients. */
const VERSION = 'd';

const writeCursor = (n: number): string =>
  new TextEncoder().encode(`${VERSION}${n}`).toBase64({ alphabet: 'base64url', omitPadding: true });

function readCursor(cursor: string): number | null {
  let text: string;
  try {
    text = new TextDecoder().decode(Uint8Array.fromBase64(cursor, { alphabet: 'base64url' }));
  } catch {
    return null;
  }
  const match = /^d([1-9]\d{0,14})$/.exec(text);
  return match?.[1] === undefined ? null : Number(match[1]);
}
