import type { WebhookEvent, WebhookEventType } from '../../contract/webhook.ts';
import type { Env } from '../../env.ts';
import { idsOf, webhooksOf, webhooksWanting } from '../../storage/d1/webhooks.ts';

/**
 * Hands an event to every webhook of an account that wants it; each stores it durably before it answers. Throws if one could
 * not be reached: the whole may be repeated, since a webhook knows an event it has by its id.
 * @param before statements that are carried out in the transaction that asks for the webhooks
 */
export async function notify(
  env: Env,
  account: string,
  event: WebhookEvent<WebhookEventType>,
  { except = null, before = [] }: { except?: string | null; before?: readonly D1PreparedStatement[] } = {},
): Promise<void> {
  const answers = await env.DB.batch([...before, webhooksWanting(env.DB, account, event.type)]);
  const ids = idsOf(answers.at(-1));
  const handed = await Promise.allSettled(
    ids.filter((id) => id !== except).map((id) => env.WEBHOOK.getByName(id).enqueue(event)),
  );
  const failed = handed.filter((each) => each.status === 'rejected').length;
  if (failed > 0) {
    throw new Error(`${failed} of ${handed.length} webhooks could not be reached`);
  }
}

/** Has every webhook of an account forget what its log tells of a job. Throws if one could not be reached; may be repeated. */
export async function forgetNotices(env: Env, account: string, job: string): Promise<void> {
  const ids = await webhooksOf(env.DB, account);
  await Promise.all(ids.map((id) => env.WEBHOOK.getByName(id).onJobErased(account, job)));
}
