import { endpointStub } from '../../durable-objects/shared/stubs.ts';
import type { Core } from '../context.ts';

/** How long an isolate shows strangers the same: however many ask, an Endpoint object is asked this seldom. */
const FRESH_MS = 10_000;

/** What anybody may know. `degraded`: an endpoint is sent nothing, or cannot be asked. Only endpoints that are `listed` are named. */
export type PublicStatus = {
  status: 'ok' | 'degraded';
  /** Runs and jobs that wait, over all endpoints; null while RunPod tells of none of them. */
  queue_depth: number | null;
  endpoints: { name: string; status: 'ok' | 'degraded' }[];
};

let reading: { status: PublicStatus; at: number } | null = null;

/** How the gateway does, as this isolate knew it within the last ten seconds. */
export async function publicStatus(core: Core): Promise<PublicStatus> {
  const now = core.clock();
  if (reading === null || now - reading.at >= FRESH_MS || now < reading.at) {
    reading = { status: await read(core), at: now };
  }
  return reading.status;
}

async function read(core: Core): Promise<PublicStatus> {
  const names = Object.keys(core.config.endpoints).sort();
  const seen = await Promise.all(names.map((name) => look(core, name)));
  const depths = seen.flatMap(({ depth }) => depth ?? []);
  return {
    status: seen.every(({ status }) => status === 'ok') ? 'ok' : 'degraded',
    queue_depth: depths.length === 0 ? null : depths.reduce((sum, depth) => sum + depth, 0),
    endpoints: seen
      .filter(({ name }) => core.config.endpoints[name]?.listed === true)
      .map(({ name, status }) => ({ name, status })),
  };
}

async function look(
  core: Core,
  name: string,
): Promise<{ name: string; status: 'ok' | 'degraded'; depth: number | null }> {
  try {
    const { mode, waiting, health } = await endpointStub(core.env, name).status();
    return {
      name,
      status: mode === 'closed' && health !== null ? 'ok' : 'degraded',
      depth: health === null ? null : health.in_queue + waiting,
    };
  } catch {
    return { name, status: 'degraded', depth: null };
  }
}
