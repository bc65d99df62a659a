import { Assets } from './assets.ts';
import { Jobs } from './jobs.ts';
import { type Timing, realTiming } from './timing.ts';

export { AnswerError, ApiError, ComfyEdgeError, ConnectionError, type FieldProblem, type Problem } from './errors.ts';
export type { BatchOptions, CallOptions, DownloadOptions, ListOptions, ResultOptions, SubmitOptions } from './jobs.ts';
export type { UploadOptions } from './assets.ts';
export type { WatchOptions } from './watch.ts';
export {
  type Asset,
  type AssetPage,
  type Attempt,
  type Batch,
  type BatchItem,
  type Job,
  type JobError,
  type JobEvent,
  type JobInput,
  type JobPage,
  type JobResult,
  type JobSummary,
  type NewJob,
  type NodeProgress,
  type Output,
  type Progress,
  type Status,
  isFinal,
} from './types.ts';

export interface ComfyEdgeOptions {
  /** Origin of the gateway, as `https://gw.example`. */
  url: string;
  /** An API key, `ce_…`. */
  key: string;
  /** Replaces the platform's `fetch`. */
  fetch?: typeof fetch;
  /** Replaces the clock; for tests. */
  timing?: Timing;
}

/**
 * Client of a comfy-edge gateway, for Node 20 and newer and for browsers.
 *
 * @example
 * const edge = new ComfyEdge({ url: 'https://gw.example', key: 'ce_…' });
 * const photo = await edge.assets.upload(bytes, { contentType: 'image/png' });
 * const job = await edge.jobs.submit({ workflow, inputs: [{ name: 'photo.png', asset: photo.id }] });
 * for await (const event of edge.jobs.watch(job.id)) console.log(event);
 */
export class ComfyEdge {
  readonly assets: Assets;
  readonly jobs: Jobs;

  constructor(options: ComfyEdgeOptions) {
    const connection = {
      url: options.url.replace(/\/+$/, ''),
      key: options.key,
      // Called through an arrow: browsers refuse a `fetch` that has lost its window.
      fetch: options.fetch ?? ((input: RequestInfo | URL, init?: RequestInit) => fetch(input, init)),
    };
    const timing = options.timing ?? realTiming;
    this.assets = new Assets(connection, timing);
    this.jobs = new Jobs(connection, timing);
  }
}
