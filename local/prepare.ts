import { resolve } from 'node:path';
import { ensureEnvironment } from './python/environment.ts';
import { findComfyUi } from './stack/comfyui.ts';
import { type Outcome, done } from './stack/outcome.ts';
import { portFrom } from './stack/ports.ts';
import type { StackOptions } from './stack/stack.ts';

/** Default ports; 8787 is also wrangler's default. */
const PORTS = { gateway: 8787, runpod: 8790 };

/**
 * Everything a stack needs before it can start: ports from GATEWAY_PORT and RUNPOD_PORT, a ComfyUI from COMFYUI_URL, a folder
 * for its state from STATE_DIR, and the Python environment.
 */
export async function prepareStack(
  root: string,
  env: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal,
): Promise<Outcome<Omit<StackOptions, 'workers'>>> {
  const gateway = portFrom(env['GATEWAY_PORT'], PORTS.gateway, 'GATEWAY_PORT');
  if (!gateway.ok) {
    return gateway;
  }
  const runpod = portFrom(env['RUNPOD_PORT'], PORTS.runpod, 'RUNPOD_PORT');
  if (!runpod.ok) {
    return runpod;
  }
  const comfyui = await findComfyUi(root, env['COMFYUI_URL']);
  if (!comfyui.ok) {
    return comfyui;
  }
  const python = await ensureEnvironment({ root, signal, report: (line) => console.log(line) });
  if (!python.ok) {
    return python;
  }
  return done({
    root,
    directory: resolve(root, env['STATE_DIR'] ?? '.local'),
    ports: { gateway: gateway.value, runpod: runpod.value },
    python: python.value.python,
    comfyui: comfyui.value,
  });
}
