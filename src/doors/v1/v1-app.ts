import { createRoute, OpenAPIHono, type RouteConfig, type z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { AppEnv } from '../app-env.ts';
import { problemSchema } from './schemas.ts';

/** The v1 door as an app. Each route file adds one route to it and describes it for the OpenAPI document. */
export type V1App = OpenAPIHono<AppEnv>;

export type V1Context = Context<AppEnv>;

export const newV1App = (): V1App => new OpenAPIHono<AppEnv>();

/**
 * Describes a route for the OpenAPI document. Handlers parse by themselves rather than through the document's validators,
 * because bodies must be bounded while they are read and all faults be reported in one envelope.
 */
export function describeRoute(app: V1App, route: RouteConfig): void {
  app.openAPIRegistry.registerPath(createRoute({ security: [{ key: [] }], ...route }));
}

/** An answer with a JSON body, for a route's description. */
export const jsonAnswer = (description: string, schema: z.ZodType) => ({
  description,
  content: { 'application/json': { schema } },
});

/** Every refusal has the same envelope. */
export const problemAnswer = {
  default: { description: 'A problem', content: { 'application/problem+json': { schema: problemSchema } } },
} as const;
