import type { Graph } from '../../contract/new-job.ts';
import { readCatalog } from '../../storage/r2/catalog.ts';
import { IsolateCache } from '../../lib/isolate-cache.ts';
import type { ServiceContext } from '../context.ts';
import { quote, type Issue } from '../../domain/problems.ts';
import type { RequestPointer } from '../../domain/workflow/graph.ts';
import type { Facts } from '../../domain/workflow/results.ts';

/**
 * How long an isolate caches a node catalogue. A change of an endpoint's nodes takes effect at most this much later.
 */
const CACHE_MS = 60_000;
/** A gateway has few endpoints; a catalogue may have thousands of classes. */
const MAX_CACHED = 100;
/**
 * A catalogue that no worker has confirmed for this long is ignored. A wrong catalogue rejects the jobs whose workers
 * would correct it, so it must expire by itself (docs/decisions/0009).
 */
export const CATALOG_LIFE_MS = 3_600_000;

/** The node classes of an endpoint's ComfyUI. `facts` is null when its workers send none. */
export type KnownNodes = { classes: ReadonlySet<string>; facts: Facts };

const cache = new IsolateCache<string, KnownNodes | null>({ maxEntries: MAX_CACHED, ttlMs: CACHE_MS });

/**
 * Reports each node whose class the endpoint's ComfyUI does not have. Without a catalogue it reports nothing, and the
 * worker's ComfyUI decides.
 */
export const unknownNodes = (
  nodes: KnownNodes | null,
  endpoint: string,
  graph: Graph,
  pointerOf: RequestPointer,
): Issue[] =>
  Object.entries(graph).flatMap(([id, node]): Issue[] =>
    nodes === null || nodes.classes.has(node.class_type)
      ? []
      : [
          {
            pointer: pointerOf(id, 'class_type'),
            code: 'unknown_node',
            detail: `Endpoint ${quote(endpoint)} has no node class ${quote(node.class_type)}.`,
          },
        ],
  );

/** The endpoint's node classes; null while its catalogue is missing or expired. */
export async function nodesOf(context: ServiceContext, endpoint: string): Promise<KnownNodes | null> {
  const now = context.clock();
  const cached = cache.get(endpoint, now);
  if (cached !== undefined) {
    return cached;
  }
  const stored = await readCatalog(context.env.BUCKET, endpoint);
  const ends_at = (stored?.reported_at ?? 0) + CATALOG_LIFE_MS;
  if (stored === null || now >= ends_at) {
    cache.set(endpoint, null, now);
    return null;
  }
  const { classes, nodes: about } = stored.catalog;
  const facts = about === undefined ? null : new Map(Object.entries(about));
  const nodes = { classes: new Set(classes), facts };
  cache.set(endpoint, nodes, now, ends_at);
  return nodes;
}

/** Clears this isolate's cache, after a worker has sent a new catalogue. */
export const forgetCatalogs = (): void => cache.clear();
