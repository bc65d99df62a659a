import { jobStub } from '../../objects/stubs.ts';
import { catalogHash, writeCatalog } from '../../storage/r2/catalog.ts';
import type { Core } from '../context.ts';
import { fail, ok, type Result } from '../result.ts';
import { forgetCatalogs } from '../workflows/catalog.ts';
import { refusal, type WorkerRefusal } from './access.ts';

/** Whether the gateway has this catalogue of the endpoint's node classes already. */
export const knowsCatalog = async (core: Core, endpoint: string, hash: string): Promise<boolean> =>
  (await catalogHash(core.env.BUCKET, endpoint)) === hash;

/** Keeps the node classes of the ComfyUI that runs this job, for refusing unknown nodes before a GPU starts. */
export async function keepCatalog(
  core: Core,
  job: string,
  attempt: number,
  catalog: { comfyui_version?: string | null | undefined; classes: string[] },
): Promise<Result<null, WorkerRefusal>> {
  const endpoint = await jobStub(core.env, job).endpointOf(attempt);
  if (endpoint === null) {
    return fail(refusal('over'));
  }
  await writeCatalog(core.env.BUCKET, endpoint, {
    comfyui_version: catalog.comfyui_version ?? null,
    classes: catalog.classes,
  });
  forgetCatalogs();
  return ok(null);
}
