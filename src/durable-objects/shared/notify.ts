import type { WebhookEvent, WebhookEventType } from '../../contract/webhook.ts';
import type { Env } from '../../env.ts';
import { idsOf, webhooksOf, webhooksSubscribedTo } from '../../storage/d1/webhooks.ts';

/**
 * Queues an event at every webhook of an account whose filter has its type. Each stores the event durably before it
 * answers. Throws if one could not be reached; the call may be repeated, since a webhook ignores an event that it has.
 * @param before statements for the transaction that looks the webhooks up
 */
export async function notifyWebhooks(
  env: Env,
  account: string,
  event: WebhookEvent<WebhookEventType>,
  { except = null, before = [] }: { except?: string | null; before?: readonly D1PreparedStatement[] } = {},
): Promise<void> {
  const answers = await env.DB.batch([...before, webhooksSubscribedTo(env.DB, account, event.type)]);
  const ids = idsOf(answers.at(-1));
  const handed = await Promise.allSettled(
    ids.filter((id) => id !== except).map((id) => env.WEBHOOK.getByName(id).enqueue(event)),
  );
  const failed = handed.filter((each) => each.status === 'rejected').length;
  if (failed > 0) {
    throw new Error(`${failed} of ${handed.length} webhooks could not be reached`);
  }
}

/**
 * Removes a job's details from the log of every webhook of its account. Throws if one could not be reached; may be
 * repeated.
 */
export async function deleteNotifications(env: Env, account: string, job: string): Promise<void> {
  const ids = await webhooksOf(env.DB, account);
  await Promise.all(ids.map((id) => env.WEBHOOK.getByName(id).onJobErased(account, job)));
}
