/**
 * Headers that responses of v1 have, beside those of every HTTP response. They are components of the OpenAPI document.
 */
export const RESPONSE_HEADERS = {
  'X-Request-Id': {
    description: 'The id of this request: the client’s own, where it sent one',
    schema: { type: 'string' },
    required: true,
  },
  'RateLimit-Policy': {
    description: 'The limits that hold for this key (draft-ietf-httpapi-ratelimit-headers)',
    schema: { type: 'string' },
  },
  RateLimit: { description: 'What is left of these limits', schema: { type: 'string' } },
  'Retry-After': {
    description: 'Seconds after which to try again',
    schema: { type: 'integer', minimum: 0 },
  },
  'X-Should-Retry': {
    description: 'Whether the same request may succeed later',
    schema: { type: 'string', pattern: '^(?:true|false)$' },
  },
  'WWW-Authenticate': { description: 'What to send instead (RFC 9110 section 11.6.1)', schema: { type: 'string' } },
  Deprecation: {
    description: 'When the route was deprecated (RFC 9745): "@" and seconds since the epoch',
    schema: { type: 'string', pattern: '^@\\d+$' },
  },
  Sunset: { description: 'When the route ends (RFC 8594)', schema: { type: 'string' } },
  Link: {
    description: 'What to use instead (`successor-version`), and where it is described',
    schema: { type: 'string' },
  },
  Location: { description: 'The URL of the new resource', schema: { type: 'string', format: 'uri' } },
  'Idempotent-Replayed': {
    description: 'The response is the one to an earlier request with this Idempotency-Key',
    schema: { type: 'string', const: 'true' },
  },
  'Preference-Applied': { description: 'The part of Prefer that was applied', schema: { type: 'string' } },
  ETag: { description: 'The version; send it back as If-None-Match', schema: { type: 'string' } },
  'Last-Modified': { description: 'When this version was made', schema: { type: 'string' } },
  'Accept-Ranges': { description: 'Range requests are supported', schema: { type: 'string', const: 'bytes' } },
  'Content-Range': { description: 'The range of the body, or the size of the whole', schema: { type: 'string' } },
  'Content-Disposition': { description: 'The file’s name', schema: { type: 'string' } },
} as const;

export type ResponseHeader = keyof typeof RESPONSE_HEADERS;

export const headerRefs = (names: readonly ResponseHeader[]): Record<string, { $ref: string }> =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
