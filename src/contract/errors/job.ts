/** One row of the table of codes that a failed job can have. */
export type JobErrorRow = {
  /** The parts that can cause it: `error.at`. */
  at: readonly ErrorSource[];
  /** Whether a new job with the same request may succeed. `sometimes`: `text` says when. */
  retryable: boolean | 'sometimes';
  /** What happened, and what to do: for the documents. */
  text: string;
  /** The release that added the code. Codes without it are in 0.1.0, the first release. */
  since?: string;
};

/** The part that caused a failure: the request, its workflow, the worker, RunPod or the gateway. */
export const ERROR_SOURCES = ['request', 'workflow', 'worker', 'provider', 'gateway'] as const;
export type ErrorSource = (typeof ERROR_SOURCES)[number];

/** Codes that a failed job can have. A code of a worker that is not listed becomes `internal`. */
export const JOB_ERRORS = {
  invalid_workflow: {
    at: ['workflow'],
    retryable: false,
    text: 'ComfyUI rejected the workflow. `details.node_errors` says where.',
  },
  node_not_allowed: {
    at: ['workflow'],
    retryable: false,
    text: "The worker's policy does not allow a node.",
  },
  input_fetch_failed: {
    at: ['worker'],
    retryable: true,
    text: 'The worker could not read an input, or the input was not the expected file.',
  },
  model_missing: {
    at: ['workflow'],
    retryable: false,
    text: 'The workflow names a model that the worker does not have.',
  },
  out_of_memory: {
    at: ['worker'],
    retryable: true,
    text: 'The GPU or the host ran out of memory.',
  },
  insufficient_resources: {
    at: ['worker'],
    retryable: true,
    text: 'The worker had too little free memory or disk space.',
  },
  execution_error: {
    at: ['workflow', 'worker'],
    retryable: false,
    text:
      'A node raised an exception (`node` names it), or ComfyUI hung while it ran the workflow. ' +
      'At `worker`: worker-comfyui failed without a reason.',
  },
  timeout: {
    at: ['worker'],
    retryable: false,
    text: 'The deadline passed while the job ran.',
  },
  comfyui_unavailable: {
    at: ['worker'],
    retryable: true,
    text: 'ComfyUI did not start, crashed, or hung before the workflow began.',
  },
  output_missing: {
    at: ['worker'],
    retryable: false,
    text: 'The workflow produced no output, or a listed file did not exist.',
  },
  output_too_large: {
    at: ['workflow'],
    retryable: false,
    text: 'An output, or the number of outputs, is over a limit.',
  },
  upload_failed: {
    at: ['worker', 'gateway'],
    retryable: true,
    text: 'An output could not be stored.',
  },
  no_capacity: {
    at: ['provider'],
    retryable: true,
    text: 'No GPU was available in time: the endpoint had no workers, or RunPod accepted no runs for it.',
  },
  provider_refused: {
    at: ['provider'],
    retryable: 'sometimes',
    text: 'RunPod rejected the run. Retryable where it rejected every run of the endpoint until the deadline.',
  },
  provider_failed: {
    at: ['provider'],
    retryable: 'sometimes',
    text:
      'The run failed, or its outcome is unknown. Not retryable on a worker-comfyui endpoint when the run may still ' +
      'exist, because it cannot be stopped.',
  },
  worker_lost: {
    at: ['worker'],
    retryable: true,
    text: 'The worker disappeared while it ran the job.',
  },
  internal: {
    at: ['gateway', 'worker'],
    retryable: true,
    text: 'A bug in the gateway or the worker.',
  },
} as const satisfies Record<string, JobErrorRow>;
