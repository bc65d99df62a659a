import { jobStub } from '../../durable-objects/shared/stubs.ts';
import type { CatalogRequest } from '../../contract/worker.ts';
import { catalogHash, catalogMark, readCatalog, writeCatalog, type Catalog } from '../../storage/r2/catalog.ts';
import type { Core } from '../context.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { forgetCatalogs } from '../endpoints/node-catalog.ts';
import { refusal, type WorkerRefusal } from './access.ts';

/**
 * A worker that claims a job sends its catalogue again when the stored one is older than this, though it has the same classes. Well below
 * `CATALOG_LIFE_MS`, so that an endpoint in use always has a current one; each time costs one call of a worker and one write to R2.
 */
const CONFIRM_AFTER_MS = 600_000;

/** Whether a worker with a catalogue of this hash is to send it. `hash` null: the worker does not know its node classes yet. */
export async function wantsCatalog(core: Core, endpoint: string, hash: string | null): Promise<boolean> {
  const stored = hash === null ? null : await catalogMark(core.env.BUCKET, endpoint);
  return stored === null || stored.hash !== hash || core.clock() - stored.reported_at >= CONFIRM_AFTER_MS;
}

/** Stores what the worker that has this job's claim says of its node classes. Refuses a worker whose claim does not stand. */
export async function reportCatalog(
  core: Core,
  job: string,
  { attempt, claim, comfyui_version, classes, nodes }: CatalogRequest,
): Promise<Result<null, WorkerRefusal>> {
  const stub = jobStub(core.env, job);
  const uploader = await stub.uploader(attempt, claim);
  if ('refused' in uploader) {
    return fail(refusal(uploader.refused));
  }
  const endpoint = await stub.endpointOf(attempt);
  if (endpoint === null) {
    return fail(refusal('over'));
  }
  // Sent again it would be one more write to R2, however often.
  if (await wantsCatalog(core, endpoint, await catalogHash(classes))) {
    await storeCatalog(core, endpoint, { comfyui_version: comfyui_version ?? null, classes, nodes });
  }
  return ok(null);
}

/** Makes this the endpoint's catalogue from now on. Without facts of the classes it keeps those that are stored of the same classes. */
export async function storeCatalog(core: Core, endpoint: string, catalog: Catalog): Promise<void> {
  const nodes = catalog.nodes ?? (await storedFacts(core, endpoint, catalog.classes));
  await writeCatalog(core.env.BUCKET, endpoint, { ...catalog, nodes }, core.clock());
  forgetCatalogs();
}

async function storedFacts(core: Core, endpoint: string, classes: readonly string[]): Promise<Catalog['nodes']> {
  const stored = await readCatalog(core.env.BUCKET, endpoint);
  const isSame = stored !== null && (await catalogHash(stored.catalog.classes)) === (await catalogHash(classes));
  return isSame ? stored.catalog.nodes : undefined;
}
