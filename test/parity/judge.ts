import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import type { JobError } from '../../clients/sdk/index.ts';
import { type Observation, stable } from './observe.ts';

const measuredSchema = z.object({ facts: z.tuple([z.unknown(), z.unknown()]), most: z.number().nullable() });

/** Rounding differs by at most one step of a channel (issue "the whole path": "within 1/255"). */
const MOST_PICTURE = 1;

interface Verdict {
  same: boolean;
  text: string;
}

const verdictOn = (one: unknown, two: unknown, text: string): Verdict =>
  isDeepStrictEqual(one, two)
    ? { same: true, text }
    : { same: false, text: `**differ**: \`${JSON.stringify(one)}\` here, \`${JSON.stringify(two)}\` there` };

/** The differences between two observations of one job, by property. */
export function judge(python: string, our: Observation, their: Observation) {
  const end = ({ job }: Observation) => ({ status: job.status, error: comparable(job.error) });
  const outputs = ({ job }: Observation) =>
    job.outputs.map(({ name, node_id, type, content_type, text }) =>
      [stable(name), node_id, type, content_type, text].join(' '),
    );
  const missing = (one: Observation, two: Observation) => one.story.filter((line) => !two.story.includes(line));
  const measured = [...our.files].map(([name, path]) => measure(python, name, path, their.files.get(name)));
  return {
    ends: verdictOn(end(our), end(their), our.job.error?.code ?? our.job.status),
    outputs: verdictOn(outputs(our).toSorted(), outputs(their).toSorted(), String(our.job.outputs.length)),
    files: {
      same: measured.every((each) => each.same),
      text: [...new Set(measured.map((each) => each.text))].join('; ') || '-',
    },
    events: isDeepStrictEqual(our.story, their.story)
      ? { same: true, text: `same (${our.story.length})` }
      : verdictOn(missing(our, their), missing(their, our), '**differ** in order'),
  };
}

/** An error without `upstream_id`, which names RunPod's run and is random. */
function comparable(error: JobError | null): Partial<JobError> | null {
  if (error === null) {
    return null;
  }
  const { upstream_id: _, ...same } = error;
  return same;
}

function measure(python: string, name: string, ours: string, theirs: string | undefined): Verdict {
  if (theirs === undefined) {
    return { same: false, text: `**${name} only here**` };
  }
  const run = spawnSync(python, [join(import.meta.dirname, 'measure.py'), ours, theirs], { encoding: 'utf8' });
  if (run.status !== 0) {
    return { same: false, text: `**${name}: ${run.stderr.trim().split('\n').at(-1)}**` };
  }
  const { facts, most } = measuredSchema.parse(JSON.parse(run.stdout));
  if (!isDeepStrictEqual(facts[0], facts[1])) {
    return verdictOn(facts[0], facts[1], '');
  }
  const lossy = name.endsWith('.mp4') || name.endsWith('.webm');
  const text = most === 0 ? 'same pixels' : `within ${most}/255`;
  return { same: most !== null && (lossy || most <= MOST_PICTURE), text: lossy ? `${text} after decoding` : text };
}
