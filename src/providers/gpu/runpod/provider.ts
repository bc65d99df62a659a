import { RUN_GRACE_MS } from '../../../domain/job/effect-relevance.ts';
import { signToken } from '../../tokens.ts';
import type { GpuProvider, ProviderParts } from '../provider.ts';
import { runpodClient } from './client.ts';
import { tokensExpireAt, webhookUrl } from './request.ts';

/**
 * Provider for RunPod endpoints with worker-gpu. The run's input is a ticket: with it the worker claims the job,
 * reports to the gateway and uploads its outputs. RunPod's status only confirms its reports, and no result is moved.
 */
export function runpodProvider({ config }: Pick<ProviderParts, 'config'>): GpuProvider {
  const client = runpodClient(config.runpod);
  return {
    async submit(run) {
      const { endpoint, job, attempt, deadline, now, confirm } = run;
      const token = await signToken(config.tokenSecret, { purpose: 'worker', job, attempt }, tokensExpireAt(run));
      const webhook = await webhookUrl(run, config);
      if (!confirm()) {
        return { kind: 'withdrawn' };
      }
      // The worker stops at the deadline by itself and reports it. RunPod's limits are the fallback.
      const left_ms = deadline - now + RUN_GRACE_MS;
      return client.run({
        endpoint,
        input: [JSON.stringify({ job, attempt, gateway: config.publicUrl, token })],
        webhook,
        execution_timeout_ms: left_ms,
        ttl_ms: left_ms,
      });
    },

    status: async ({ endpoint, run_id }) => ({ status: await client.status(endpoint, run_id) }),

    result: () => Promise.resolve({ kind: 'missing' }),

    cancel: ({ endpoint, run_id }) => client.cancel(endpoint, run_id),
  };
}
