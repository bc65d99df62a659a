import type { Endpoint } from '../platform/endpoint.ts';

/** The body of `/health`, with every field that RunPod has been observed to send. `throttled` is always 0. */
export function health(endpoint: Endpoint): Record<string, Record<string, number>> {
  const { completed, failed, retried } = endpoint.jobs.counts();
  const idle = endpoint.roster.in('idle').length;
  return {
    jobs: {
      completed,
      failed,
      inProgress: endpoint.jobs.runningCount(),
      inQueue: endpoint.jobs.queued().length,
      retried,
    },
    workers: {
      idle,
      initializing: endpoint.roster.in('initializing').length,
      ready: idle,
      running: endpoint.roster.in('running').length,
      throttled: 0,
      unhealthy: Math.min(endpoint.fleet.crashes, endpoint.scaling.max),
    },
  };
}
