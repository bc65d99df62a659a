/**
 * One row of the tables of error codes. The problem pages, docs/reference/errors.md and the OpenAPI document show it.
 */
export type ErrorRow = {
  /** The HTTP status of every response with this code. */
  status: ErrorStatus;
  /** What is wrong, without a full stop: `title` of the problem (RFC 9457). */
  title: string;
  /** When the code occurs, and what to do: for the documents. */
  text: string;
  /** The same request may succeed later, unchanged. */
  retryable?: true;
  /** The release that added the code. Codes without it are in 0.1.0, the first release. */
  since?: string;
  /** The problem's `type`, where IANA has one (draft-ietf-httpapi-ratelimit-headers). */
  iana?: 'quota-exceeded' | 'temporary-reduced-capacity';
};

export type ErrorStatus =
  | 400
  | 401
  | 402
  | 403
  | 404
  | 405
  | 409
  | 410
  | 412
  | 413
  | 415
  | 416
  | 422
  | 429
  | 500
  | 503
  | 504;
