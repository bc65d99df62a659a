import { z } from 'zod';
import { STAGES } from '../../../contract/job.ts';
import type { RunProgress } from '../../../contract/run.ts';

/**
 * Progress in the `output` of a run that is not over: what a worker tells by the SDK's `progress_update`. The stock worker-comfyui
 * tells nothing; its forks tell of one node's steps (worker-comfyui#221), worker-gpu without a gateway of the whole graph (docs/reference/worker.md).
 */

const whole = z.number().int().nonnegative();
const told = z.object({
  value: z.number().nonnegative().optional(),
  max: z.number().positive().optional(),
  percent: z.number().min(0).max(100).optional(),
  node: z.union([z.string(), z.number().transform(String)]).nullish(),
  current_node: z.string().nullish(),
  current_node_class: z.string().nullish(),
  step: z.number().nonnegative().nullish(),
  steps: z.number().positive().nullish(),
  nodes_done: whole.optional(),
  nodes_total: whole.optional(),
  stage: z.enum(STAGES).optional(),
});

/** What is told, or null. `value` is null where only a part of the graph is spoken of. */
export function progressOf(output: unknown): RunProgress | null {
  const parsed = told.safeParse(output);
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
