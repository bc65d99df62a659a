import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Outcome, done, failure } from './outcome.ts';

/** A running ComfyUI answers immediately, except while it loads models. */
const ANSWER_TIMEOUT_MS = 5_000;

/** The ComfyUI of the workers: a running one, or a folder with a `main.py` that each worker starts for itself. */
export type ComfyUi = { url: string } | { path: string };

const statsSchema = z.object({ system: z.object({ comfyui_version: z.string().optional() }) });

/** The ComfyUI to use: the one at `url` when given, else the CPU engine of this checkout. */
export async function findComfyUi(root: string, url: string | undefined): Promise<Outcome<ComfyUi>> {
  if (url === undefined || url === '') {
    const path = join(root, 'local', 'comfyui');
    return existsSync(join(path, 'main.py'))
      ? done({ path })
      : failure(`${path}/main.py is missing. Restore the checkout.`);
  }
  const origin = URL.canParse(url) ? new URL(url) : null;
  if (origin === null || !['http:', 'https:'].includes(origin.protocol)) {
    return failure(`COMFYUI_URL is "${url}", not a URL. Give it as http://host:port.`);
  }
  const base = origin.href.replace(/\/+$/, '');
  return (await answersAsComfyUi(base))
    ? done({ url: base })
    : failure(
        `COMFYUI_URL: nothing at ${base} answers as a ComfyUI. Start ComfyUI there, or leave COMFYUI_URL out to use the CPU engine.`,
      );
}

async function answersAsComfyUi(base: string): Promise<boolean> {
  try {
    const response = await fetch(`${base}/system_stats`, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    return response.ok && statsSchema.safeParse(await response.json()).success;
  } catch {
    return false;
  }
}
