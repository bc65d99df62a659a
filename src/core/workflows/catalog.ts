import type { Graph } from '../../contract/new-job.ts';
import { readCatalog } from '../../storage/r2/catalog.ts';
import type { Core } from '../context.ts';
import { quote, type Fault } from '../problems.ts';
import type { Place } from './graph.ts';
import type { Facts } from './results.ts';

/** How long an isolate believes the catalogue it has read; a worker with other nodes is seen this much later. */
const CACHE_MS = 60_000;
/**
 * A catalogue that no worker has confirmed for this long refuses nothing. A wrong one keeps out the very jobs whose workers would correct
 * it, so it must end by itself (docs/decisions/0052).
 */
export const CATALOG_LIFE_MS = 3_600_000;

/** What an endpoint's ComfyUI has. `facts` is null where its workers send none. */
export type KnownNodes = { classes: ReadonlySet<string>; facts: Facts };

const cache = new Map<string, { nodes: KnownNodes | null; until: number }>();

/**
 * One fault per node whose class the endpoint's ComfyUI does not have. Without a catalogue nothing is refused: the worker's
 * ComfyUI will say so itself.
 */
export const unknownNodes = (nodes: KnownNodes | null, endpoint: string, graph: Graph, place: Place): Fault[] =>
  Object.entries(graph).flatMap(([id, node]): Fault[] =>
    nodes === null || nodes.classes.has(node.class_type)
      ? []
      : [
          {
            pointer: place(id, 'class_type'),
            code: 'unknown_node',
            detail: `endpoint ${quote(endpoint)} has no node class ${quote(node.class_type)}`,
          },
        ],
  );

/** The endpoint's node classes; null while there is no catalogue of it, or only an old one. */
export async function nodesOf(core: Core, endpoint: string): Promise<KnownNodes | null> {
  const now = core.clock();
  const cached = cache.get(endpoint);
  if (cached !== undefined && now < cached.until) {
    return cached.nodes;
  }
  const stored = await readCatalog(core.env.BUCKET, endpoint);
  const ends_at = (stored?.reported_at ?? 0) + CATALOG_LIFE_MS;
  if (stored === null || now >= ends_at) {
    cache.set(endpoint, { nodes: null, until: now + CACHE_MS });
    return null;
  }
  const { classes, nodes: about } = stored.catalog;
  const facts = about === undefined ? null : new Map(Object.entries(about));
  const nodes = { classes: new Set(classes), facts };
  cache.set(endpoint, { nodes, until: Math.min(now + CACHE_MS, ends_at) });
  return nodes;
}

/** Makes this isolate read again: a worker has just brought a new catalogue. */
export const forgetCatalogs = (): void => cache.clear();
