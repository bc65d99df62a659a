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

/** Hash of the catalogue that is stored, as a worker computes it; null when there is none. One look, no read. */
export async function catalogHash(bucket: R2Bucket, endpoint: string): Promise<string | null> {
  const object = await bucket.head(catalogKey(endpoint));
  return object?.customMetadata?.['hash'] ?? null;
}

/** SHA-256 of the sorted class names, newline separated (docs/worker-contract.md, claim). Sorted by code point, as Python sorts. */
async function hashOf(classes: readonly string[]): Promise<string> {
  const text = classes.toSorted(byCodePoint).join('\n');
  return new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))).toHex();
}

/** UTF-8 bytes sort as code points do; JavaScript's own order is by UTF-16 units. */
function byCodePoint(left: string, right: string): number {
  const [a, b] = [[...left], [...right]];
  for (let at = 0; at < Math.min(a.length, b.length); at += 1) {
    const difference = (a[at]?.codePointAt(0) ?? 0) - (b[at]?.codePointAt(0) ?? 0);
    if (difference !== 0) {
      return difference;
    }
  }
  return a.length - b.length;
}
