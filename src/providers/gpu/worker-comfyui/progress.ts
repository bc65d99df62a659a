import { z } from 'zod';
import { STAGES } from '../../../contract/job.ts';
import type { RunProgress } from '../../../contract/run.ts';

/**
 * Progress in the `output` of an unfinished run, which a worker sends with the SDK's `progress_update`. The original
 * worker-comfyui sends none. Its forks send the steps of one node (worker-comfyui#221), and worker-gpu without a
 * gateway sends the progress of the whole graph (docs/reference/worker.md).
 */

const count = z.number().int().nonnegative();
const progressUpdate = z.object({
  value: z.number().nonnegative().optional(),
  max: z.number().positive().optional(),
  percent: z.number().min(0).max(100).optional(),
  node: z.union([z.string(), z.number().transform(String)]).nullish(),
  current_node: z.string().nullish(),
  current_node_class: z.string().nullish(),
  step: z.number().nonnegative().nullish(),
  steps: z.number().positive().nullish(),
  nodes_done: count.optional(),
  nodes_total: count.optional(),
  stage: z.enum(STAGES).optional(),
});

/** Returns the progress in an output, or null. `value` is null if the progress is that of one node. */
export function progressOf(output: unknown): RunProgress | null {
  const parsed = progressUpdate.safeParse(output);
  if (!parsed.success) {
    return null;
  }
  const { value, max, percent, node, current_node, current_node_class, step, steps, stage } = parsed.data;
  if (value === undefined && percent === undefined && step === undefined && stage === undefined) {
    return null;
  }
  // With a maximum, `value` counts the steps of one node, and the percentage is of that node.
  const ofNode = max !== undefined;
  return {
    value: ofNode ? null : value !== undefined && value <= 1 ? value : percent === undefined ? null : percent / 100,
    nodes_done: parsed.data.nodes_done ?? 0,
    nodes_total: parsed.data.nodes_total ?? 0,
    current_node: current_node ?? node ?? null,
    current_node_class: current_node_class ?? null,
    step: (ofNode ? value : step) ?? null,
    steps: (ofNode ? max : steps) ?? null,
    stage: stage ?? null,
  };
}
