import type { ServiceContext } from '../context.ts';

/** How long an isolate caches the status, so that any number of requests causes few calls of Endpoint objects. */
const FRESH_MS = 10_000;

/**
 * The public status. `degraded`: an endpoint's circuit breaker is open, or its object does not answer. Names only
 * `listed` endpoints.
 */
export type PublicStatus = {
  status: 'ok' | 'degraded';
  /** Waiting runs and jobs of all endpoints; null while RunPod reports no counts. */
  queue_depth: number | null;
  endpoints: { name: string; status: 'ok' | 'degraded' }[];
};

let cached: { status: PublicStatus; at: number } | null = null;

/** Returns the status of the gateway, at most `FRESH_MS` old. */
export async function publicStatus(context: ServiceContext): Promise<PublicStatus> {
  const now = context.clock();
  if (cached === null || now - cached.at >= FRESH_MS || now < cached.at) {
    cached = { status: await read(context), at: now };
  }
  return cached.status;
}

async function read(context: ServiceContext): Promise<PublicStatus> {
  const names = Object.keys(context.config.endpoints).sort();
  const statuses = await Promise.all(names.map((name) => readEndpoint(context, name)));
  const depths = statuses.flatMap(({ depth }) => depth ?? []);
  return {
    status: statuses.every(({ status }) => status === 'ok') ? 'ok' : 'degraded',
    queue_depth: depths.length === 0 ? null : depths.reduce((sum, depth) => sum + depth, 0),
    endpoints: statuses
      .filter(({ name }) => context.config.endpoints[name]?.listed === true)
      .map(({ name, status }) => ({ name, status })),
  };
}

async function readEndpoint(
  context: ServiceContext,
  name: string,
): Promise<{ name: string; status: 'ok' | 'degraded'; depth: number | null }> {
  try {
    const { mode, waiting, health } = await context.env.ENDPOINT.getByName(name).status();
    return {
      name,
      status: mode === 'closed' && health !== null ? 'ok' : 'degraded',
      depth: health === null ? null : health.in_queue + waiting,
    };
  } catch {
    return { name, status: 'degraded', depth: null };
  }
}
