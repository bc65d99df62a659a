import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Job, type JobEvent, isFinal } from '../../clients/sdk/index.ts';
import { drawPicture } from '../../local/demo/picture.ts';
import { startPlatform } from '../e2e/platform.ts';
import { CASES, PHOTO } from './graphs.ts';

const JOB_MS = 120_000;

/** How a job went, without what depends on time or on the machine. */
export interface Observation {
  name: string;
  job: Pick<Job, 'status' | 'error' | 'outputs'>;
  /** Events in order; see `story`. */
  story: string[];
  /** Where each output's file was put; texts have none. */
  files: Map<string, string>;
}

/** Every case through a whole platform of its own whose worker drives the ComfyUI at `url`; files go to `folder`. */
export async function observe(url: string, folder: string): Promise<Observation[]> {
  const { edge, ...platform } = await startPlatform({ comfyui: { url }, policy: { max_attempts: 1 } });
  mkdirSync(folder, { recursive: true });
  try {
    const observations: Observation[] = [];
    for (const { name, workflow } of CASES) {
      const submitted = await edge.jobs.submit({
        workflow,
        inputs: JSON.stringify(workflow).includes(PHOTO) ? [{ name: PHOTO, data: photo.toString('base64') }] : [],
        options: { previews: true, temp_outputs: true },
      });
      const events: JobEvent[] = [];
      for await (const event of edge.jobs.watch(submitted.id, { after: 0, signal: AbortSignal.timeout(JOB_MS) })) {
        events.push(event);
      }
      const job = await edge.jobs.get(submitted.id);
      const files = new Map<string, string>();
      for (const [index, output] of job.outputs.entries()) {
        if (output.text === undefined) {
          const response = await edge.jobs.download(job.id, output.name);
          const path = join(folder, `${observations.length}-${index}-${output.name.replaceAll('/', '_')}`);
          writeFileSync(path, new Uint8Array(await response.arrayBuffer()));
          files.set(stable(output.name), path);
        }
      }
      observations.push({ name, job, story: story(events), files });
    }
    return observations;
  } finally {
    await platform.stop();
  }
}

const photo = drawPicture(240, 160);

/** ComfyUI puts five random letters into the names of temporary files. */
export const stable = (name: string): string => name.replace(/_temp_[a-z]{5}_/, '_temp_*_');

/**
 * The events as lines. Progress is coalesced by time, so how often it came is left out: each node's last state remains. Uploads
 * run beside the graph and beside each other: previews and outputs are named together, before the end.
 */
export function story(events: readonly JobEvent[]): string[] {
  const lines: string[] = [];
  const states = new Map<string, string>();
  const outputs: string[] = [];
  const previewed = new Set<string>();
  for (const event of events) {
    if (event.event === 'progress') {
      for (const [node, { state, class_type }] of Object.entries(event.data.nodes ?? {})) {
        states.set(`${node} ${class_type}`, state);
      }
    } else if (event.event === 'output') {
      outputs.push(`output ${stable(event.data.name)} of ${event.data.node_id}`);
    } else if (event.event === 'preview') {
      previewed.add(`preview ${event.data.content_type} of ${event.data.node_id}`);
    } else if (event.event === 'status') {
      if (isFinal(event.data.status)) {
        lines.push(...[...states].map(([node, state]) => `node ${node} ${state}`).toSorted());
        lines.push(...[...previewed].toSorted(), ...outputs.toSorted());
      }
      lines.push(`${event.data.status} ${event.data.stage ?? ''} ${event.data.error?.code ?? ''}`.trim());
    } else if (event.event === 'log') {
      lines.push(`log ${event.data.level}: ${event.data.message}`);
    }
  }
  return lines;
}
