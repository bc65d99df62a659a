/** One thing that is wrong with a request: where (a JSON pointer, as `#/workflow/3/inputs/image`) and what. */
export interface FieldProblem {
  pointer: string;
  code: string;
  detail: string;
}

/** What an answer said was wrong (docs/reference/api.md, Errors). */
export interface Problem {
  status: number;
  /** Stable name of the error, as `unknown_node`. */
  code: string;
  title: string;
  detail: string;
  /** Quote it when you ask for help; null when the answer did not come from the gateway. */
  requestId: string | null;
  errors: FieldProblem[];
  /** Seconds to wait before the next try; null when the answer named none. */
  retryAfter: number | null;
}

/** Every error this client throws on purpose. */
export class ComfyEdgeError extends Error {
  override name = 'ComfyEdgeError';
}

/** The gateway refused a request. */
export class ApiError extends ComfyEdgeError {
  override name = 'ApiError';
  readonly problem: Problem;

  constructor(problem: Problem) {
    const fields = problem.errors.map((field) => `${field.pointer}: ${field.detail}`);
    super([`${problem.status} ${problem.code}: ${problem.detail}`, ...fields].join('; '));
    this.problem = problem;
  }

  get status(): number {
    return this.problem.status;
  }

  get code(): string {
    return this.problem.code;
  }
}

/** No answer: the gateway could not be reached, or the connection was lost. `cause` has the reason. */
export class ConnectionError extends ComfyEdgeError {
  override name = 'ConnectionError';
}

/** An answer that is not what the API documents; most likely something between client and gateway sent it. */
export class AnswerError extends ComfyEdgeError {
  override name = 'AnswerError';
}
