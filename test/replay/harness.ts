import { createHash } from 'node:crypto';
import { type Job, type JobEvent } from '../../clients/sdk/index.ts';
import { WAIT_LIMIT_MS, type Platform, QUICK_POLICY, startPlatform } from '../e2e/platform.ts';
import type { Recording } from './recordings.ts';
import { type Deviation, type ReplayedComfyUi, startReplayedComfyUi } from './replayed-comfyui.ts';

/** A 2 × 1 PNG, for the recording that loads an uploaded picture. */
const PICTURE = 'iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP4z8DAwPAfAAcAAf+TEjBnAAAAAElFTkSuQmCC';

/** The RunPod SDK asks for work up to a second after a job has ended: with three workers, one is always at hand. */
const WORKERS = 3;

/** How a job went, as a client sees it. */
export interface ReplayedJob {
  job: Job;
  events: JobEvent[];
}

/** The whole platform, its workers driving a ComfyUI that plays recordings. */
export interface ReplayHarness {
  platform: Platform;
  comfyui: ReplayedComfyUi;
  /** Submits the recording's graph and watches the job to its end. `onEvent` sees each event as it comes. */
  run(recording: Recording, manner?: Deviation, onEvent?: (event: JobEvent, job: string) => void): Promise<ReplayedJob>;
  close(): Promise<void>;
}

export async function startReplay(): Promise<ReplayHarness> {
  const comfyui = await startReplayedComfyUi();
  const platform = await startPlatform({
    comfyui: { url: comfyui.url },
    workers: { min: WORKERS, max: WORKERS },
    // One attempt: a recording is of one.
    policy: { ...QUICK_POLICY, max_attempts: 1 },
  });
  const { edge } = platform;
  return {
    platform,
    comfyui,
    async run(recording, manner = {}, onEvent = () => undefined) {
      comfyui.play(recording, manner);
      const loads = JSON.stringify(recording.graph).includes('"uploaded.png"');
      const submitted = await edge.jobs.submit({
        workflow: recording.graph,
        inputs: loads ? [{ name: 'uploaded.png', data: PICTURE }] : [],
        options: { previews: true, temp_outputs: true },
      });
      const events: JobEvent[] = [];
      for await (const event of edge.jobs.watch(submitted.id, {
        after: 0,
        signal: AbortSignal.timeout(WAIT_LIMIT_MS),
      })) {
        events.push(event);
        onEvent(event, submitted.id);
      }
      return { job: await edge.jobs.get(submitted.id), events };
    },
    async close() {
      await platform.stop();
      await comfyui.close();
    },
  };
}

/** `status/stage` of each status event, in order. */
export const statuses = (events: readonly JobEvent[]): string[] =>
  events.flatMap((event) => (event.event === 'status' ? [`${event.data.status}/${event.data.stage}`] : []));

/** Outputs as `name type content type[: text]`, by name. */
export const outputs = (job: Job): string[] =>
  job.outputs
    .map(
      ({ name, type, content_type, text }) => `${name} ${type} ${content_type}${text === undefined ? '' : `: ${text}`}`,
    )
    .toSorted();

/** The last reported state of each node. */
export const nodeStates = (events: readonly JobEvent[]): Record<string, string> =>
  Object.fromEntries(
    events.flatMap((event) =>
      event.event === 'progress'
        ? Object.entries(event.data.nodes ?? {}).map(([node, { state }]) => [node, state])
        : [],
    ),
  );

/** Progress of the whole graph, in the order of its events. */
export const progressValues = (events: readonly JobEvent[]): number[] =>
  events.flatMap((event) => (event.event === 'progress' ? [event.data.value] : []));

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
