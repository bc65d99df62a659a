/** RunPod's words for a run (reference/runpod.md 2.3) reduced to what the job machine tells apart. `missing`: a 404. */
export type RunStatus =
  | 'queued'
  | 'running'
  | 'completed'
  | 'failed'
  | 'canceled'
  | 'timed_out'
  | 'missing'
  | 'unreachable';
