import { v1Door } from './index.ts';

/** The v1 API as an OpenAPI 3.1 document, made from the routes' own descriptions. */
export function openApiDocument(publicUrl: string) {
  v1Door.openAPIRegistry.registerComponent('securitySchemes', 'key', {
    type: 'http',
    scheme: 'bearer',
    description: 'An API key: ce_live_… or ce_test_…',
  });
  v1Door.openAPIRegistry.registerComponent('securitySchemes', 'admin', {
    type: 'http',
    scheme: 'bearer',
    description: 'The gateway’s ADMIN_TOKEN',
  });
  return v1Door.getOpenAPI31Document({
    openapi: '3.1.0',
    info: { title: 'comfy-edge', version: '1', description: 'ComfyUI workflows on GPUs that scale to zero.' },
    servers: [{ url: `${publicUrl}/v1` }],
  });
}
