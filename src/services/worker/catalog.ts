import type { CatalogRequest } from '../../contract/worker.ts';
import { catalogHash, catalogMark, readCatalog, writeCatalog, type Catalog } from '../../storage/r2/catalog.ts';
import type { ServiceContext } from '../context.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { forgetCatalogs } from '../endpoints/node-catalog.ts';
import { refusal, type WorkerRefusal } from './access.ts';

/**
 * A worker that claims a job sends its catalogue again when the stored one is older than this, even with the same
 * classes. It is well below `CATALOG_LIFE_MS`, so that an active endpoint always has a current catalogue. Each time
 * costs one worker call and one R2 write.
 */
const CONFIRM_AFTER_MS = 600_000;

/**
 * Whether a worker with a catalogue of this hash must send it. `hash` null: the worker does not know its node classes
 * yet.
 */
export async function wantsCatalog(context: ServiceContext, endpoint: string, hash: string | null): Promise<boolean> {
  const stored = hash === null ? null : await catalogMark(context.env.BUCKET, endpoint);
  return stored === null || stored.hash !== hash || context.clock() - stored.reported_at >= CONFIRM_AFTER_MS;
}

/** Stores the node catalogue of the worker that holds this job's claim. Rejects a worker without a valid claim. */
export async function reportCatalog(
  context: ServiceContext,
  job: string,
  { attempt, claim, comfyui_version, classes, nodes }: CatalogRequest,
): Promise<Result<null, WorkerRefusal>> {
  const stub = context.env.JOB.getByName(job);
  const target = await stub.uploadTarget(attempt, claim);
  if ('refused' in target) {
    return fail(refusal(target.refused));
  }
  const endpoint = await stub.attemptEndpoint(attempt);
  if (endpoint === null) {
    return fail(refusal('finished'));
  }
  // A repeated call must not write to R2 again.
  if (await wantsCatalog(context, endpoint, await catalogHash(classes))) {
    await storeCatalog(context, endpoint, { comfyui_version: comfyui_version ?? null, classes, nodes });
  }
  return ok(null);
}

/** Replaces the endpoint's catalogue. When it has no facts, keeps the stored facts of the same classes. */
export async function storeCatalog(context: ServiceContext, endpoint: string, catalog: Catalog): Promise<void> {
  const nodes = catalog.nodes ?? (await storedFacts(context, endpoint, catalog.classes));
  await writeCatalog(context.env.BUCKET, endpoint, { ...catalog, nodes }, context.clock());
  forgetCatalogs();
}

async function storedFacts(
  context: ServiceContext,
  endpoint: string,
  classes: readonly string[],
): Promise<Catalog['nodes']> {
  const stored = await readCatalog(context.env.BUCKET, endpoint);
  const isSame = stored !== null && (await catalogHash(stored.catalog.classes)) === (await catalogHash(classes));
  return isSame ? stored.catalog.nodes : undefined;
}
