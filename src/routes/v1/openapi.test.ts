import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { strictChecks } from '../../testing/contract/schemas.ts';
import { anyone, ORIGIN } from '../../testing/gateway.ts';
import { STATUSES } from '../../contract/job.ts';
import type { JobNotice } from '../../contract/webhook.ts';
import { disabledEvent, erasedBody, jobEvent, pingEvent } from '../../domain/webhook/payload.ts';
import { routeName } from './route.ts';
import { ROUTES } from './routes.ts';

/** The document as strangers get it: what OpenAPI 3.1 asks of it and what generators of clients stumble over. */

const mediaSchema = z.object({ schema: z.unknown(), example: z.unknown().optional() });
const contentSchema = z.record(z.string(), mediaSchema).default({});
const operationSchema = z.object({
  operationId: z.string(),
  summary: z.string().min(5),
  tags: z.array(z.string()).length(1),
  security: z.array(z.record(z.string(), z.array(z.string()))),
  parameters: z.array(z.object({ name: z.string(), in: z.string(), required: z.boolean().optional() })).default([]),
  requestBody: z.object({ content: contentSchema }).optional(),
  responses: z.record(
    z.string().regex(/^[1-5]\d\d$/),
    z.object({ description: z.string().min(3), content: contentSchema }),
  ),
});
const documentSchema = z.object({
  openapi: z.literal('3.1.0'),
  info: z.object({ title: z.string(), version: z.string() }),
  servers: z.array(z.object({ url: z.url() })).length(1),
  tags: z.array(z.object({ name: z.string(), description: z.string() })),
  paths: z.record(z.string().startsWith('/'), z.record(z.string(), operationSchema)),
  webhooks: z.record(z.string(), z.object({ post: z.object({ requestBody: z.object({ content: contentSchema }) }) })),
  components: z.object({
    schemas: z.record(z.string(), z.unknown()),
    securitySchemes: z.record(z.string(), z.object({ type: z.string() })),
    headers: z.record(z.string(), z.unknown()),
  }),
});

const NOTED = '01930000-0000-7000-8000-000000000000';

let text: string;
let document: z.infer<typeof documentSchema>;
let operations: (z.infer<typeof operationSchema> & { name: string; path: string })[];

beforeAll(async () => {
  text = await (await anyone('/openapi.json')).text();
  document = documentSchema.parse(JSON.parse(text));
  operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      path,
      name: `${method.toUpperCase()} ${path}`,
    })),
  );
});

describe('the OpenAPI document', () => {
  it('names every operation once', () => {
    const ids = operations.map(({ operationId }) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBe(ROUTES.length);
    expect(document.servers).toEqual([{ url: `${ORIGIN}/v1` }]);
  });

  it('has no reference that leads nowhere', () => {
    const references = [...text.matchAll(/"\$ref":"#\/components\/(\w+)\/([\w-]+)"/g)];
    expect(references.length).toBeGreaterThan(100);
    expect(references.length).toBe(text.split('"$ref"').length - 1);
    const components: Record<string, Record<string, unknown>> = document.components;
    expect(references.filter(([, kind = '', name = '']) => components[kind]?.[name] === undefined)).toEqual([]);
  });

  it('has no nullable component', () => {
    const nullable = z.object({ type: z.array(z.string()) }).transform(({ type }) => type.includes('null'));
    const found = Object.entries(document.components.schemas).filter(([, schema]) => nullable.safeParse(schema).data);
    expect(found.map(([name]) => name)).toEqual([]);
  });

  it('describes exactly the parameters of each path', () => {
    for (const { name, path, parameters } of operations) {
      const described = parameters.filter((each) => each.in === 'path');
      expect([name, ...described.map((each) => each.name).sort()]).toEqual([
        name,
        ...[...path.matchAll(/\{(\w+)\}/g)].map(([, each = '']) => each).sort(),
      ]);
      expect(described.every((each) => each.required === true)).toBe(true);
    }
  });

  it('groups every operation under an explained tag', () => {
    const known = new Set(document.tags.map(({ name }) => name));
    expect(operations.filter(({ tags }) => !known.has(tags[0] ?? '')).map(({ name }) => name)).toEqual([]);
  });

  it('states the scope of every operation, and where a read token or the operator is accepted', () => {
    for (const { access, ...route } of ROUTES) {
      const name = routeName(route);
      const security = operations.find((each) => each.name === name)?.security ?? [];
      const schemes = security.flatMap((each) => Object.keys(each));
      expect(schemes.every((scheme) => scheme in document.components.securitySchemes)).toBe(true);
      expect([name, security[0]]).toEqual([name, access === 'open' ? undefined : { key: [access.scope] }]);
      const { operator, readToken } = access === 'open' ? {} : access;
      expect([name, schemes.includes('admin')]).toEqual([name, operator === true]);
      expect([name, schemes.includes('readToken')]).toEqual([name, readToken !== undefined]);
      expect([name, schemes.includes('readTokenInQuery')]).toEqual([name, readToken === 'query']);
    }
  });

  it('describes the refusals of every operation as problems', () => {
    for (const { name, responses } of operations) {
      expect([name, Object.keys(responses)]).toEqual([name, expect.arrayContaining(['401', '429', '500', '503'])]);
      const refusals = Object.entries(responses).filter(([status]) => Number(status) >= 400);
      expect(refusals.filter(([, { content }]) => !('application/problem+json' in content))).toEqual([]);
    }
  });

  it('has examples that fit the schemas beside them', () => {
    const check = strictChecks(document.components.schemas);
    const bodies = operations.flatMap(({ name, requestBody, responses }) =>
      [requestBody?.content ?? {}, ...Object.values(responses).map(({ content }) => content)].flatMap((content) =>
        Object.values(content).map((media) => ({ name, ...media })),
      ),
    );
    const examples = bodies.filter(({ example }) => example !== undefined);
    expect(examples.length).toBeGreaterThan(ROUTES.filter(({ body }) => body !== undefined).length);
    expect(
      examples.flatMap(({ name, schema, example }) => check(schema)(example).map((issue) => `${name} ${issue}`)),
    ).toEqual([]);
  });

  it('describes every event that a webhook is sent', () => {
    const check = strictChecks(document.components.schemas);
    const at = 1_800_000_000_000;
    const job: JobNotice = {
      id: NOTED,
      endpoint: 'default',
      status: 'succeeded',
      attempt: 1,
      created_at: at,
      started_at: null,
      completed_at: at,
      error: null,
      metadata: {},
    };
    const events = [
      ...STATUSES.map((status) => jobEvent({ ...job, status }, 7, at, ORIGIN)),
      disabledEvent({ id: NOTED, url: 'https://a.example', version: 1 }, { reason: 'gone', detail: 'Gone.' }, at),
      pingEvent('x', NOTED, at),
    ];
    const erased = events.slice(0, 1).map(({ body, ...event }) => ({ ...event, body: erasedBody(body) }));
    expect(Object.keys(document.webhooks).toSorted()).toEqual(events.map(({ type }) => type).toSorted());
    for (const { type, body } of [...events, ...erased]) {
      const { schema } = document.webhooks[type]?.post.requestBody.content['application/json'] ?? {};
      expect([type, ...check(schema)(JSON.parse(body))]).toEqual([type]);
    }
  });
});
