import { z } from 'zod';
import { catalogKey } from '../keys.ts';

/** The node classes that an endpoint's ComfyUI knows, as a worker reported them (docs/worker-contract.md, catalog). */
const catalogSchema = z.object({ comfyui_version: z.string().nullish(), classes: z.array(z.string()) });
export type Catalog = z.infer<typeof catalogSchema>;

/** The endpoint's catalogue; null when no worker has sent one yet. */
export async function readCatalog(bucket: R2Bucket, endpoint: string): Promise<Catalog | null> {
  const object = await bucket.get(catalogKey(endpoint));
  if (object === null) {
    return null;
  }
  const parsed = catalogSchema.safeParse(await object.json());
  return parsed.success ? parsed.data : null;
}

/** Keeps the catalogue, with its hash where a look needs no body. */
export async function writeCatalog(bucket: R2Bucket, endpoint: string, catalog: Catalog): Promise<void> {
  await bucket.put(catalogKey(endpoint), JSON.stringify(catalog), {
    httpMetadata: { contentType: 'application/json' },
    customMetadata: { hash: await hashOf(catalog.classes) },
  });
}
