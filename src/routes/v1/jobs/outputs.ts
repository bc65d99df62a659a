import { z } from '@hono/zod-openapi';
import { notFound } from '../../../domain/problems.ts';
import { findOutput, type OpenOutput } from '../../../services/jobs/outputs.ts';
import { preconditionOf } from '../../http/conditional.ts';
import { contentHeaders } from '../../http/file-headers.ts';
import { problemResponse, problem } from '../../http/problem.ts';
import { rangeOf } from '../../http/range.ts';
import type { ResponseHeader } from '../response-headers.ts';
import { defineRoute, type Route, type V1Context } from '../route.ts';

const BINARY = { '*/*': { schema: z.string().openapi({ format: 'binary' }) } };
const HEADERS: readonly ResponseHeader[] = ['ETag', 'Last-Modified', 'Accept-Ranges', 'Content-Disposition'];

/** `GET /v1/jobs/{id}/outputs/{name}`: one range, conditional requests, and HEAD (RFC 9110 sections 13 and 14). */
const getOutput = defineRoute({
  method: 'get',
  path: '/jobs/{id}/outputs/{name}',
  wildcard: true,
  access: { scope: 'jobs:read', readToken: 'query' },
  operationId: 'getOutput',
  summary: 'Read an output',
  params: z.object({ id: z.uuid(), name: z.string() }),
  headers: z.object({
    range: z.string().optional(),
    'if-none-match': z.string().optional(),
    'if-range': z.string().optional(),
  }),
  responses: {
    200: { description: 'The content', headers: HEADERS, content: BINARY },
    206: { description: 'The requested range', headers: [...HEADERS, 'Content-Range'], content: BINARY },
    304: { description: 'The client has this version', headers: HEADERS },
  },
  refusals: [412, 416],
  async handle(c) {
    const { context, caller } = c.var;
    const found = await findOutput(context, caller, c.req.param('id'), c.req.param('name'));
    if (!found.ok) {
      return found;
    }
    const { output, head: readHead, read } = found.value;
    // A plain GET needs one call to R2; a response that depends on size or ETag needs two.
    if (!wantsHead(c)) {
      const whole = await read(null);
      return whole === null
        ? problemResponse(c, notFound)
        : c.body(whole.body, 200, { ...contentHeaders(output, whole), 'content-length': String(whole.size) });
    }
    const head = await readHead();
    if (head === null) {
      return problemResponse(c, notFound);
    }
    return answerWith(c, head, contentHeaders(output, head), read);
  },
});

export const outputRoutes: readonly Route[] = [getOutput];

const CONDITIONS = ['range', 'if-range', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'];

const isHead = (c: V1Context): boolean => c.req.raw.method === 'HEAD';

const wantsHead = (c: V1Context): boolean => isHead(c) || CONDITIONS.some((name) => c.req.header(name) !== undefined);

type Head = NonNullable<Awaited<ReturnType<OpenOutput['head']>>>;

/** Preconditions first, then the range: the order of RFC 9110 section 13.2.2. */
async function answerWith(
  c: V1Context,
  head: Head,
  headers: Record<string, string>,
  read: OpenOutput['read'],
): Promise<Response> {
  switch (preconditionOf(c.req.raw.headers, head)) {
    case 'failed':
      return problem(c, 'precondition_failed', { detail: 'The output is not the version that the request names.' });
    case 'not_modified':
      return c.body(null, 304, headers);
    case 'holds':
  }
  // Ranges are defined for GET only (section 14.2).
  const range = isHead(c) ? null : rangeOf(c.req.raw.headers, head);
  if (range === 'unsatisfiable') {
    return problem(c, 'invalid_range', {
      detail: `The output has ${head.size} bytes. Ask for one range within it, such as "bytes=0-99".`,
      headers: { 'content-range': `bytes */${head.size}` },
    });
  }
  const length = range === null ? head.size : range.length;
  const complete: Record<string, string> = { ...headers, 'content-length': String(length) };
  if (range !== null) {
    complete['content-range'] = `bytes ${range.offset}-${range.offset + range.length - 1}/${head.size}`;
  }
  const status = range === null ? 200 : 206;
  if (isHead(c)) {
    return c.body(null, status, complete);
  }
  const content = await read(range === null ? null : { range, etag: head.etag });
  return content === null ? problemResponse(c, notFound) : c.body(content.body, status, complete);
}
