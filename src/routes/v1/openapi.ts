import { v1Routes } from './index.ts';
import { TAGS } from './operation.ts';
import { RESPONSE_HEADERS } from './response-headers.ts';
import { WEBHOOK_EVENTS } from './webhooks/events.ts';

/** The kinds of credentials. The scope that a route asks of a key is in its definition. */
const SECURITY_SCHEMES = {
  key: { type: 'http', scheme: 'bearer', description: 'An API key: ce_live_… or ce_test_…, with the scope named here' },
  admin: { type: 'http', scheme: 'bearer', description: 'The gateway’s ADMIN_TOKEN' },
  readToken: {
    type: 'http',
    scheme: 'bearer',
    description: 'A read token of the job in the path: POST /jobs/{id}/tokens creates one',
  },
  readTokenInQuery: {
    type: 'apiKey',
    in: 'query',
    name: 'token',
    description: 'A read token where no header can be set, as in EventSource. Never a key',
  },
} as const;

const { openAPIRegistry: registry } = v1Routes;
for (const [name, scheme] of Object.entries(SECURITY_SCHEMES)) {
  registry.registerComponent('securitySchemes', name, scheme);
}
for (const [name, header] of Object.entries(RESPONSE_HEADERS)) {
  registry.registerComponent('headers', name, header);
}
for (const event of WEBHOOK_EVENTS) {
  registry.registerWebhook(event);
}

/** The v1 API as an OpenAPI 3.1 document, made from the definitions of its routes. */
export function openApiDocument(publicUrl: string) {
  return v1Routes.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'comfy-edge', version: '1', description: 'ComfyUI workflows on GPUs that scale to zero.' },
    servers: [{ url: `${publicUrl}/v1` }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    externalDocs: { url: `${publicUrl}/docs`, description: 'The same as pages' },
  });
}
