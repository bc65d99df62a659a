import type { z } from 'zod';
import type { WebhookView } from '../../contract/webhook.ts';
import { isUuidV7, systemRandom } from '../../lib/ids.ts';
import { deleteWebhook, insertWebhook, webhooksOf } from '../../storage/d1/webhooks.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { parseBody } from '../../domain/validation.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { withRpcRetry } from '../../durable-objects/shared/rpc-retry.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { isRecord } from '../../domain/workflow/parse.ts';
import { newSecret } from '../../domain/webhook/secret.ts';
import { MAX_WEBHOOKS, newWebhookSchema, rotationSchema, urlIssues, webhookChangeSchema } from './request.ts';

/** A webhook with its newest secret, which is returned only once. */
export type WebhookWithSecret = { webhook: WebhookView; secret: string };

/** Creates a webhook. It receives all events after this returns. */
export async function createWebhook(
  context: ServiceContext,
  caller: Caller,
  body: unknown,
): Promise<Result<WebhookWithSecret, Problem>> {
  const checked = check(newWebhookSchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  const { secret = newSecret(systemRandom), ...settings } = checked.value;
  const id = context.newId();
  const stub = () => context.env.WEBHOOK.getByName(id);
  const webhook = await withRpcRetry(() => stub().create({ id, account: caller.account, secret, ...settings }));
  // The list entry is written last, so that every listed webhook exists. An unlisted webhook left by a crash is never
  // called.
  if (!(await insertWebhook(context.env.DB, { ...webhook, version: 1 }, MAX_WEBHOOKS))) {
    await withRpcRetry(() => stub().delete(caller.account));
    return fail({
      code: 'too_many_webhooks',
      detail: `An account may have at most ${MAX_WEBHOOKS} webhooks. Delete one first.`,
    });
  }
  return ok({ webhook, secret });
}

/** Lists the account's webhooks, newest first, with the current state from their objects. */
export async function listWebhooks(context: ServiceContext, caller: Caller): Promise<WebhookView[]> {
  const ids = await webhooksOf(context.env.DB, caller.account);
  const views = await Promise.all(
    ids.map((id) => withRpcRetry(() => context.env.WEBHOOK.getByName(id).view(caller.account))),
  );
  return views.filter((view) => view !== null);
}

/** Returns one webhook. Checks the form of the id before it addresses an object. */
export const getWebhook = (
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<WebhookView, Problem>> =>
  withWebhook(id, () => context.env.WEBHOOK.getByName(id).view(caller.account));

/** Updates the URL, the description, the filter, or the enabled state. */
export async function updateWebhook(
  context: ServiceContext,
  caller: Caller,
  id: string,
  body: unknown,
): Promise<Result<WebhookView, Problem>> {
  const checked = check(webhookChangeSchema, body, context);
  return checked.ok
    ? withWebhook(id, () => context.env.WEBHOOK.getByName(id).update(caller.account, checked.value))
    : checked;
}

/** Rotates a webhook's secret. The old secret also signs during the overlap. */
export async function rotateSecret(
  context: ServiceContext,
  caller: Caller,
  id: string,
  body: unknown,
): Promise<Result<WebhookWithSecret, Problem>> {
  const checked = check(rotationSchema, body, context);
  if (!checked.ok) {
    return checked;
  }
  const { secret = newSecret(systemRandom), overlap } = checked.value;
  const rotated = await withWebhook(id, () =>
    context.env.WEBHOOK.getByName(id).rotateSecret(caller.account, secret, overlap * 1000),
  );
  return rotated.ok ? ok({ webhook: rotated.value, secret }) : rotated;
}

/**
 * Deletes a webhook, its log and its pending deliveries. Removes the list entry first, so that it gets no new events.
 */
export async function removeWebhook(
  context: ServiceContext,
  caller: Caller,
  id: string,
): Promise<Result<null, Problem>> {
  if (!isUuidV7(id)) {
    return fail(notFound);
  }
  await deleteWebhook(context.env.DB, caller.account, id);
  return (await withRpcRetry(() => context.env.WEBHOOK.getByName(id).delete(caller.account)))
    ? ok(null)
    : fail(notFound);
}

async function withWebhook<T>(id: string, ask: () => Promise<T | null>): Promise<Result<T, Problem>> {
  const answer = isUuidV7(id) ? await withRpcRetry(ask) : null;
  return answer === null ? fail(notFound) : ok(answer);
}

/** Parses a body with a schema and reports all issues together. */
export function check<T extends z.ZodType>(
  schema: T,
  body: unknown,
  context: ServiceContext,
): Result<z.infer<T>, Problem> {
  const url = isRecord(body) && typeof body['url'] === 'string' ? body['url'] : undefined;
  return parseBody(schema, body, urlIssues(url, context.config.publicUrl));
}
