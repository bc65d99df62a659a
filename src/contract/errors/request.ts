import type { ErrorRow } from './row.ts';

/** Codes that describe a request as a whole. */
export const REQUEST_ERRORS = {
  invalid_json: {
    status: 400,
    title: 'The body is not valid JSON',
    text: 'The body is not JSON, or not UTF-8. `detail` names the line, the column and the text found there.',
  },
  invalid_multipart: {
    status: 400,
    title: 'The multipart body must contain exactly one file',
    text: 'Send exactly one part: a file with the name `file`.',
  },
  incomplete_body: {
    status: 400,
    title: 'The request body is incomplete',
    text: 'The connection ended early, sent nothing for 60 seconds, or took more than 15 minutes. Send the request again.',
    retryable: true,
  },
  invalid_parameter: {
    status: 400,
    title: 'A query parameter is invalid',
    text: 'A query parameter has an invalid value, or the route does not have it. `detail` names it.',
  },
  invalid_cursor: {
    status: 400,
    title: 'The cursor is invalid',
    text: 'Send `cursor`, `after` or `Last-Event-ID` as this list or stream returned it.',
  },
  invalid_idempotency_key: {
    status: 400,
    title: 'The Idempotency-Key is invalid',
    text: 'Use 1 to 255 printable ASCII characters, bare or in double quotes.',
  },
  unauthorized: {
    status: 401,
    title: 'Missing or invalid API key',
    text:
      'Send a valid key or read token as `Authorization: Bearer …`, and never a key in the URL. ' +
      'Every cause has the same response.',
  },
  budget_exceeded: {
    status: 402,
    title: 'The daily budget is exhausted',
    text:
      'The rest of the daily budget (US dollars or GPU seconds) does not cover what the job may cost. ' +
      '`Retry-After` says when the next day begins.',
  },
  insufficient_scope: {
    status: 403,
    title: 'The API key lacks the required scope',
    text: '`detail` and `WWW-Authenticate` name the scope that the route requires.',
  },
  admin_token_not_accepted: {
    status: 403,
    title: 'ADMIN_TOKEN is not accepted on this route',
    text: 'Send a key of an account. `POST /v1/keys` with `ADMIN_TOKEN` creates one.',
  },
  ip_not_allowed: {
    status: 403,
    title: 'The API key is not allowed from this IP address',
    text: "The address is not in the key's `ip_allow`.",
  },
  endpoint_not_allowed: {
    status: 403,
    title: 'The API key is not allowed to use this endpoint',
    text:
      "The endpoint is not in the key's `endpoints`, or it is for keys of the other environment. " +
      'Test keys run only on endpoints whose `environment` is `test` or `any`.',
  },
  exceeds_key: {
    status: 403,
    title: 'A key cannot grant permissions it does not have',
    text:
      'A key can give another key only its own scopes, endpoints and addresses. ' +
      'A secret that a rotation replaced cannot manage keys.',
  },
  not_found: {
    status: 404,
    title: 'Not found',
    text: 'The resource does not exist or belongs to another account. Both have the same response.',
  },
  method_not_allowed: {
    status: 405,
    title: 'Method not allowed',
    text: 'The path exists, but not with this method. `Allow` lists the methods.',
  },
  idempotency_in_flight: {
    status: 409,
    title: 'The first request with this Idempotency-Key is still in progress',
    text: 'Send the same request again after `Retry-After` seconds.',
    retryable: true,
  },
  asset_in_use: {
    status: 409,
    title: 'The asset is used by an unfinished job',
    text: 'Cancel the job, or wait until it has finished.',
  },
  upload_incomplete: {
    status: 409,
    title: 'Parts of the upload are missing',
    text: 'Parts are missing or have the wrong size. `detail` names them; `GET` of the upload returns their URLs.',
  },
  job_not_finished: {
    status: 409,
    title: 'The job has not finished',
    text: 'Only a finished job can be erased. Cancel it first.',
  },
  job_failed: {
    status: 410,
    title: 'The job failed and has no result',
    text: "`job` has the job's id, status and [error](#errors-of-jobs).",
  },
  job_canceled: {
    status: 410,
    title: 'The job was canceled and has no result',
    text: "`job` has the job's id and status.",
  },
  job_expired: {
    status: 410,
    title: 'The job expired and has no result',
    text: 'No worker claimed the job in time. `job` has its id and status.',
  },
  precondition_failed: {
    status: 412,
    title: 'A precondition of the request failed',
    text: '`If-Match` or `If-Unmodified-Since` names another version.',
  },
  body_too_large: {
    status: 413,
    title: 'The request body is too large',
    text: '`detail` names the limit of the route. Upload large files with `POST /v1/assets` or `POST /v1/uploads`.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'Unsupported Content-Type',
    text: 'The route does not accept this Content-Type or Content-Encoding.',
  },
  invalid_range: {
    status: 416,
    title: 'The range cannot be served',
    text: 'The range is malformed or outside of the file. `Content-Range: bytes */size` has the size.',
  },
  idempotency_key_reuse: {
    status: 422,
    title: 'This Idempotency-Key was used with a different request',
    text: 'The key came with another request before, or its job was erased. Use a new key.',
  },
  hash_mismatch: {
    status: 422,
    title: 'The file does not match its SHA-256',
    text: 'The parts of an upload do not form the announced file. They are deleted; start a new upload.',
  },
  too_many_uploads: {
    status: 422,
    title: 'The account has reached its limit of open uploads',
    text: 'Complete an upload, or wait. A deleted upload counts until its URLs have expired.',
  },
  too_many_keys: {
    status: 422,
    title: 'The account has reached its limit of API keys',
    text: 'Revoke a key first.',
  },
  key_revoked: {
    status: 422,
    title: 'The API key is revoked',
    text: 'A revoked key cannot be changed. Create a new one.',
  },
  too_many_webhooks: {
    status: 422,
    title: 'The account has reached its limit of webhooks',
    text: 'Delete a webhook first.',
  },
  webhook_disabled: {
    status: 422,
    title: 'The webhook is disabled',
    text: 'A disabled webhook sends nothing. Enable it first.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    text: 'Wait for `Retry-After` seconds. `violated-policies` names the limit.',
    retryable: true,
    iana: 'quota-exceeded',
  },
  queue_full: {
    status: 429,
    title: 'The queue is full',
    text: 'The account runs `jobs_in_flight` jobs and `max_queued` more wait. Wait for `Retry-After` seconds.',
    retryable: true,
    iana: 'quota-exceeded',
  },
  too_many_watchers: {
    status: 429,
    title: 'The job has the maximum number of watchers',
    text: 'Poll the URL in `poll`, or open the stream again after `Retry-After` seconds.',
    retryable: true,
  },
  internal: {
    status: 500,
    title: 'Internal server error',
    text: "The gateway failed. Its log has the cause under the response's `request_id`.",
    retryable: true,
  },
  misconfigured: {
    status: 503,
    title: 'The gateway is not configured',
    text: "A setting is missing or invalid. Only the gateway's log names it.",
  },
  database_outdated: {
    status: 503,
    title: 'The database lacks a migration',
    text: 'Only `/readyz` answers this. The log names the migration to apply.',
  },
  endpoint_unavailable: {
    status: 503,
    title: 'The endpoint is unavailable',
    text:
      'The endpoint and its fallbacks accept no runs at the moment, and their queue is full. ' +
      'Wait for `Retry-After` seconds.',
    retryable: true,
    iana: 'temporary-reduced-capacity',
  },
  unavailable: {
    status: 503,
    title: 'Temporarily unavailable',
    text: 'A part of the platform is overloaded or restarting. Wait for `Retry-After` seconds.',
    retryable: true,
  },
  no_worker_report: {
    status: 504,
    title: 'No worker sent a report',
    text: 'No worker of the endpoint could be asked, or none answered in time. `detail` says which.',
    retryable: true,
  },
} as const satisfies Record<string, ErrorRow>;
