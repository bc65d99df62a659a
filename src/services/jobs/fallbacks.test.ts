import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { testBindings } from '../../../test/gateway-bindings.ts';
import { requireConfig } from '../../config/schema.ts';
import type { Graph } from '../../contract/new-job.ts';
import { writeCatalog } from '../../storage/r2/catalog.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { forgetCatalogs } from '../endpoints/node-catalog.ts';
import { fallbacksFor } from './fallbacks.ts';

const GRAPH: Graph = {
  '1': { class_type: 'EmptyImage', inputs: { width: 512, height: 512, batch_size: 1, color: 0 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};
const caller: Caller = { account: 'acc', key: 'k', environment: 'live', endpoints: null, templates: null, nodes: null };

/**
 * Returns the fallbacks of endpoint `own` for the graph. Its fallback is `spare` with these settings, and the fallback
 * of `spare` is `last`.
 */
async function fallbacks(spare: Record<string, unknown>, over: Partial<Caller> = {}): Promise<unknown> {
  const endpoints = {
    own: { runpod_id: 'a', fallback: 'spare' },
    spare: { runpod_id: 'b', fallback: 'last', ...spare },
    last: { runpod_id: 'c' },
  };
  const config = requireConfig({ ...env, ...testBindings, ENDPOINTS: JSON.stringify(endpoints) });
  const context: ServiceContext = { env, config, clock: () => Date.now(), newId: () => 'id', newSeed: () => 1 };
  const found = await fallbacksFor(context, { ...caller, ...over }, 'own', GRAPH);
  return found.map(({ endpoint }) => endpoint);
}

describe('finding fallbacks', () => {
  it('returns the fallback of the endpoint and its own fallback', async () => {
    expect(await fallbacks({})).toEqual(['spare', 'last']);
  });

  it('skips endpoints that the key may not use', async () => {
    expect(await fallbacks({}, { endpoints: ['own', 'last'] })).toEqual(['last']);
    expect(await fallbacks({}, { endpoints: ['own'] })).toEqual([]);
  });

  it.each([
    ['whose limits reject the graph', { limits: { max_pixels: 1024 } }],
    ['whose limits would clamp the graph', { limits: { max_pixels: 1024, on_limit: 'clamp' } }],
    ['whose node limit the graph exceeds', { limits: { max_nodes: 1 } }],
    ['that denies a node class', { nodes: { deny: ['SaveImage'] } }],
    ['that does not allow a node class', { nodes: { allow: ['EmptyImage'] } }],
  ])('skips an endpoint %s', async (_why, spare) => {
    expect(await fallbacks(spare)).toEqual(['last']);
  });

  it('skips an endpoint whose ComfyUI lacks a node class', async () => {
    await writeCatalog(env.BUCKET, 'spare', { comfyui_version: null, classes: ['EmptyImage'] }, Date.now());
    forgetCatalogs();
    expect(await fallbacks({})).toEqual(['last']);
    await env.BUCKET.delete('catalogs/spare.json');
    forgetCatalogs();
  });
});
