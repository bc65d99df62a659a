import { z } from 'zod';
import { openApiDocument } from '../../routes/v1/openapi.ts';
import { ORIGIN } from '../gateway.ts';
import { strictChecks, type Check } from './schemas.ts';

/**
 * The operations of the OpenAPI document, for tests that check requests against it. They are built here rather than read over
 * HTTP, so that a test file can have one test for each.
 */

const parameterSchema = z.object({ name: z.string(), in: z.enum(['query', 'header', 'path']), schema: z.unknown() });
const documentSchema = z.object({
  paths: z.record(
    z.string(),
    z.record(
      z.string(),
      z.object({
        parameters: z.array(parameterSchema).default([]),
        requestBody: z
          .object({ content: z.record(z.string(), z.object({ schema: z.unknown(), example: z.unknown().optional() })) })
          .optional(),
      }),
    ),
  ),
  components: z.object({ schemas: z.record(z.string(), z.unknown()) }),
});

type Parameter = z.infer<typeof parameterSchema> & { check: Check };

/** `path` as the document writes it; `body`: its JSON body, null without one. `check` finds what does not conform. */
export type Operation = {
  method: string;
  path: string;
  parameters: Parameter[];
  body: { schema: unknown; example: unknown; check: Check } | null;
};

const { paths, components } = documentSchema.parse(JSON.parse(JSON.stringify(openApiDocument(ORIGIN))));
const checks = strictChecks(components.schemas);

const COMPONENTS = '#/components/schemas/';

/** A schema with components in the place of references to them. No component refers to itself. */
function resolved(schema: unknown): unknown {
  if (Array.isArray(schema)) {
    return schema.map(resolved);
  }
  if (typeof schema !== 'object' || schema === null) {
    return schema;
  }
  const target =
    '$ref' in schema && typeof schema.$ref === 'string' ? components.schemas[schema.$ref.slice(COMPONENTS.length)] : {};
  const whole = { ...(typeof target === 'object' ? target : {}), ...schema };
  return Object.fromEntries(
    Object.entries(whole).flatMap(([key, value]) => (key === '$ref' ? [] : [[key, resolved(value)]])),
  );
}

export const DESCRIBED: readonly Operation[] = Object.entries(paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, { parameters, requestBody }]) => {
    const json = requestBody?.content['application/json'];
    return {
      method: method.toUpperCase(),
      path,
      parameters: parameters.map((each) => ({ ...each, check: checks(each.schema) })),
      body:
        json === undefined
          ? null
          : { schema: resolved(json.schema), example: json.example, check: checks(json.schema) },
    };
  }),
);
