import { ANSWER_HEADERS, TAGS } from './answers.ts';
import { v1Routes } from './index.ts';

/** The ways of showing who one is. The scope a route asks of a key stands with the route. */
const SECURITY_SCHEMES = {
  key: { type: 'http', scheme: 'bearer', description: 'An API key: ce_live_… or ce_test_…, with the scope named here' },
  admin: { type: 'http', scheme: 'bearer', description: 'The gateway’s ADMIN_TOKEN' },
  readToken: {
    type: 'http',
    scheme: 'bearer',
    description: 'A read token of the job in the path: POST /jobs/{id}/tokens makes one',
  },
  readTokenInQuery: {
    type: 'apiKey',
    in: 'query',
    name: 'token',
    description: 'A read token where no header can be set, as in EventSource. Never a key',
  },
} as const;

for (const [name, scheme] of Object.entries(SECURITY_SCHEMES)) {
  v1Routes.openAPIRegistry.registerComponent('securitySchemes', name, scheme);
}
for (const [name, header] of Object.entries(ANSWER_HEADERS)) {
  v1Routes.openAPIRegistry.registerComponent('headers', name, header);
}

/** The v1 API as an OpenAPI 3.1 document, made from the routes' own descriptions. */
export function openApiDocument(publicUrl: string) {
  return v1Routes.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'comfy-edge', version: '1', description: 'ComfyUI workflows on GPUs that scale to zero.' },
    servers: [{ url: `${publicUrl}/v1` }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    externalDocs: { url: `${publicUrl}/docs`, description: 'The same as pages' },
  });
}
