import { z } from 'zod';
import { nodeFacts } from '../../contract/worker.ts';
import { catalogKey } from './keys.ts';
import { sha256Hex } from '../../lib/hash.ts';

/** The node classes of an endpoint's ComfyUI, as reported by a worker (docs/reference/worker-contract.md, catalog). */
const catalogSchema = z.object({
  comfyui_version: z.string().nullish(),
  classes: z.array(z.string()),
  nodes: nodeFacts.optional(),
});
export type Catalog = z.infer<typeof catalogSchema>;

/** The metadata of a stored catalogue. `reported_at`: when a worker last sent it, in ms. */
export type CatalogMark = { hash: string; reported_at: number };

/** Reads the endpoint's catalogue; null when no worker has sent one yet. */
export async function readCatalog(
  bucket: R2Bucket,
  endpoint: string,
): Promise<{ catalog: Catalog; reported_at: number } | null> {
  const object = await bucket.get(catalogKey(endpoint));
  if (object === null) {
    return null;
  }
  const parsed = catalogSchema.safeParse(await object.json());
  return parsed.success ? { catalog: parsed.data, reported_at: markOf(object).reported_at } : null;
}

/** Stores the catalogue with its hash, and with `now` (ms) as the time of the report. */
export async function writeCatalog(bucket: R2Bucket, endpoint: string, catalog: Catalog, now: number): Promise<void> {
  await bucket.put(catalogKey(endpoint), JSON.stringify(catalog), {
    httpMetadata: { contentType: 'application/json' },
    customMetadata: { hash: await catalogHash(catalog.classes), reported_at: String(now) },
  });
}

/** Reads the hash and time of the stored catalogue, or null. Does not read its body. */
export async function catalogMark(bucket: R2Bucket, endpoint: string): Promise<CatalogMark | null> {
  const object = await bucket.head(catalogKey(endpoint));
  return object === null ? null : markOf(object);
}

/** A catalogue without a time was written by an older gateway and counts as infinitely old. */
const markOf = ({ customMetadata }: R2Object): CatalogMark => ({
  hash: customMetadata?.['hash'] ?? '',
  reported_at: Number(customMetadata?.['reported_at'] ?? 0),
});

/**
 * SHA-256 of the sorted class names, newline separated (docs/reference/worker-contract.md, claim). Sorted by code
 * point, as Python sorts.
 */
export async function catalogHash(classes: readonly string[]): Promise<string> {
  const text = classes.toSorted(byCodePoint).join('\n');
  return sha256Hex(text);
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
