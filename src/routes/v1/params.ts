import { z } from '@hono/zod-openapi';

/** Parameters of a path that names one resource by its id. */
export const idParams = z.object({ id: z.uuid() });
