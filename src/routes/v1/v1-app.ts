import { createRoute, OpenAPIHono, type RouteConfig, type z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import type { AppEnv } from '../http/app-env.ts';
import { described, headerRefs, type AnswerHeader, type Refusal } from './answers.ts';

/** The v1 door as an app. Each route file adds one route to it and describes it for the OpenAPI document. */
export type V1App = OpenAPIHono<AppEnv>;

export type V1Context = Context<AppEnv>;

export const newV1App = (): V1App => new OpenAPIHono<AppEnv>();

/**
 * Describes a route for the OpenAPI document: what it takes, and what it answers when all is well. `problems` are the statuses of
 * refusals that do not follow from its form (`answers.ts`). Handlers parse by themselves rather than through the document's validators,
 * because bodies must be bounded while they are read and all faults be reported in one envelope.
 */
export function describeRoute(app: V1App, route: RouteConfig & { problems?: readonly Refusal[] }): void {
  app.openAPIRegistry.registerPath(createRoute(described(route)));
}

/** An answer with a JSON body, for a route's description; with headers of its own beside those that every answer has. */
export const jsonAnswer = (description: string, schema: z.ZodType, ...headers: AnswerHeader[]) => ({
  description,
  headers: headerRefs(...headers),
  content: { 'application/json': { schema } },
});
