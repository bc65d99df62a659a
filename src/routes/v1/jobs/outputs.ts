import { z } from '@hono/zod-openapi';
import { findOutput, type OpenOutput } from '../../../services/jobs/outputs.ts';
import { notFound } from '../../../domain/problems.ts';
import { coreProblem, problem } from '../../http/problem.ts';
import { contentHeaders } from '../../http/file-headers.ts';
import { preconditionOf } from '../../http/conditional.ts';
import { rangeOf } from '../../http/range.ts';
import { headerRefs } from '../answers.ts';
import { describeRoute, type V1App, type V1Context } from '../v1-app.ts';

/** `GET /v1/jobs/{id}/outputs/{name}`: a result. One range, conditional requests, and HEAD (RFC 9110 sections 13 and 14). */
export function registerGetOutput(app: V1App): void {
  const binary = { '*/*': { schema: z.string().openapi({ format: 'binary' }) } };
  const headers = headerRefs('ETag', 'Last-Modified', 'Accept-Ranges', 'Content-Disposition');
  describeRoute(app, {
    method: 'get',
    path: '/jobs/{id}/outputs/{name}',
    operationId: 'getOutput',
    summary: 'Read an output',
    problems: [412, 416],
    request: {
      params: z.object({ id: z.uuid(), name: z.string() }),
      headers: z.object({
        range: z.string().optional(),
        'if-none-match': z.string().optional(),
        'if-range': z.string().optional(),
      }),
    },
    responses: {
      200: { description: 'The content', headers, content: binary },
      206: {
        description: 'The range asked for',
        headers: { ...headers, ...headerRefs('Content-Range') },
        content: binary,
      },
      304: { description: 'The client has it', headers },
    },
  });
  // Not `.+`, which stops at U+2028 and U+2029: a name may hold them.
  app.get('/jobs/:id/outputs/:name{[^]+}', async (c) => {
    const { core, caller } = c.var;
    const found = await findOutput(core, caller, c.req.param('id'), c.req.param('name'));
    if (!found.ok) {
      return coreProblem(c, found.problem);
    }
    const { output, head: readHead, read } = found.value;
    // A plain GET needs one look into R2; anything that depends on size or ETag needs two.
    if (!wantsHead(c)) {
      const whole = await read(null);
      return whole === null
        ? coreProblem(c, notFound)
        : c.body(whole.body, 200, { ...contentHeaders(output, whole), 'content-length': String(whole.size) });
    }
    const head = await readHead();
    if (head === null) {
      return coreProblem(c, notFound);
    }
    return answerWith(c, head, contentHeaders(output, head), read);
  });
}

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
      return problem(c, 'precondition_failed', { detail: 'the output is not the version the request names' });
    case 'not_modified':
      return c.body(null, 304, headers);
    case 'holds':
  }
  // Ranges are defined for GET only (section 14.2).
  const range = isHead(c) ? null : rangeOf(c.req.raw.headers, head);
  if (range === 'unsatisfiable') {
    return problem(c, 'invalid_range', {
      detail: `the output has ${head.size} bytes; ask for one range within, as in "bytes=0-99"`,
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
  return content === null ? coreProblem(c, notFound) : c.body(content.body, status, complete);
}
