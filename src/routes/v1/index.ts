import { OpenAPIHono } from '@hono/zod-openapi';
import type { AppEnv } from '../http/app-env.ts';
import { drainBody } from '../http/drain.ts';
import { methodsOf, onlyMethodsOf } from '../http/methods.ts';
import { rateLimitHeaders } from '../http/rate-limit-headers.ts';
import { authorize } from './auth.ts';
import { deprecationHeaders } from './deprecation.ts';
import { mount, routeFinder } from './mount.ts';
import { strictQuery } from './query.ts';
import { ROUTES } from './routes.ts';

/**
 * The gateway's own API (docs/reference/api.md). What a route is, is in `route.ts`; which there are, in `routes.ts`.
 */
export const v1Routes = new OpenAPIHono<AppEnv>();
const findRoute = routeFinder(ROUTES);

v1Routes.use(drainBody);
v1Routes.use(deprecationHeaders(findRoute));
v1Routes.use(authorize(findRoute));
v1Routes.use(rateLimitHeaders((c) => findRoute(c)?.admission === true));
v1Routes.use(onlyMethodsOf(methodsOf(() => v1Routes.routes.map((route) => ({ ...route, path: `/v1${route.path}` })))));
v1Routes.use(strictQuery(findRoute));
mount(v1Routes, ROUTES);
