import type { Graph } from '../../contract/new-job.ts';
import { readCatalog } from '../../storage/r2/catalog.ts';
import type { Core } from '../context.ts';
import { quote, type Fault } from '../problems.ts';
import type { Place } from './graph.ts';

/** How long an isolate believes the catalogue it has read; a worker with other nodes is seen this much later. */
const CACHE_MS = 60_000;
/**
 * A catalogue that no worker has confirmed for this long refuses nothing. A wrong one keeps out the very jobs whose workers would correct
 * it, so it must end by itself (docs/decisions/0052).
 */
export const CATALOG_LIFE_MS = 3_600_000;

const cache = new Map<string, { classes: ReadonlySet<string> | null; until: number }>();

/** What is known of an endpoint's node classes: `checked` is false while there is no catalogue of it, or only an old one. */
export type KnownNodes = { checked: boolean; faults: Fault[] };

/**
 * One fault per node whose class the endpoint's ComfyUI does not have. Without a catalogue nothing is refused: the worker's
 * ComfyUI will say so itself.
 */
export async function unknownNodes(core: Core, endpoint: string, graph: Graph, place: Place): Promise<KnownNodes> {
  const classes = await classesOf(core, endpoint);
  if (classes === null) {
    return { checked: false, faults: [] };
  }
  const faults = Object.entries(graph).flatMap(([id, node]): Fault[] =>
    classes.has(node.class_type)
      ? []
      : [
          {
            pointer: place(id, 'class_type'),
            code: 'unknown_node',
            detail: `endpoint ${quote(endpoint)} has no node class ${quote(node.class_type)}`,
          },
        ],
  );
  return { checked: true, faults };
}

async function classesOf(core: Core, endpoint: string): Promise<ReadonlySet<string> | null> {
  const now = core.clock();
  const cached = cache.get(endpoint);
  if (cached !== undefined && now < cached.until) {
    return cached.classes;
  }
  const stored = await readCatalog(core.env.BUCKET, endpoint);
  const ends_at = (stored?.reported_at ?? 0) + CATALOG_LIFE_MS;
  if (stored === null || now >= ends_at) {
    cache.set(endpoint, { classes: null, until: now + CACHE_MS });
    return null;
  }
  const classes = new Set(stored.catalog.classes);
  cache.set(endpoint, { classes, until: Math.min(now + CACHE_MS, ends_at) });
  return classes;
}

/** Makes this isolate read again: a worker has just brought a new catalogue. */
export const forgetCatalogs = (): void => cache.clear();
