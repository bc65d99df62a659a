import { RUN_GRACE_MS } from '../../../domain/job/effect-relevance.ts';
import { signToken } from '../../tokens.ts';
import type { GpuProvider, ProviderParts } from '../provider.ts';
import { runpodClient } from './client.ts';
import { tokensEnd, webhookOf } from './request.ts';

/**
 * Endpoints of RunPod whose worker is worker-gpu. A run is a ticket: the worker claims the job with it, reports to the gateway and
 * stores its results by itself, so RunPod's status only confirms and there is no result to move.
 */
export function runpodProvider({ config }: Pick<ProviderParts, 'config'>): GpuProvider {
  const client = runpodClient(config.runpod);
  return {
    async submit(run) {
      const { endpoint, job, attempt, deadline, now, confirm } = run;
      const token = await signToken(config.tokenSecret, { purpose: 'worker', job, attempt }, tokensEnd(run));
      const webhook = await webhookOf(run, config);
      if (!confirm()) {
        return { kind: 'withdrawn' };
      }
      // The worker ends at the deadline by itself and says so; RunPod ends it only where that fails.
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
