import { createExecutionContext } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import { GRAPH, newClient, ORIGIN, ownGateway, PNG, problemOf } from '../../../testing/gateway.ts';

/** A request that is too large is refused with a text that says how to send large files. */

const LIMITS = { max_body_bytes: 4000, max_workflow_bytes: 500, max_asset_bytes: 100 };

async function refused(path: string, body: string | Uint8Array<ArrayBuffer>, type = 'application/json') {
  const { key } = await newClient();
  const headers = { authorization: `Bearer ${key}`, 'content-type': type };
  const request = new Request(ORIGIN + path, { method: 'POST', headers, body });
  const small = { ...env, LIMITS: JSON.stringify(LIMITS) };
  return problemOf(await ownGateway().fetch(request, small, createExecutionContext()));
}

const job = (body: object): string => JSON.stringify({ workflow: GRAPH, ...body });

describe('a refusal for size says how to send large files:', () => {
  const data = new Uint8Array(3000).toBase64();

  it.each(['/v1/jobs', '/v1/jobs/dry-run', '/v1/jobs/batch'])('a body of POST %s', async (path) => {
    const seen = await refused(path, job({ inputs: [{ name: 'a.png', data }] }));
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 413, code: 'body_too_large' });
    expect(seen.detail).toContain('POST /v1/uploads in parts');
  });

  it('an input in a body', async () => {
    const large = new Uint8Array([...PNG, ...new Uint8Array(100)]).toBase64();
    const seen = await refused('/v1/jobs', job({ inputs: [{ name: 'a.png', data: large }] }));
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 413, code: 'file_too_large' });
    expect(seen.detail).toContain('POST /v1/uploads');
  });

  it('an asset', async () => {
    const seen = await refused('/v1/assets', new Uint8Array([...PNG, ...new Uint8Array(100)]), 'image/png');
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 413, code: 'file_too_large' });
    expect(seen.detail).toContain('POST /v1/uploads');
  });

  it('a workflow that contains a file', async () => {
    const workflow = { '1': { class_type: 'ETN_LoadImageBase64', inputs: { image: 'A'.repeat(600) } } };
    const seen = await refused('/v1/jobs', job({ workflow }));
    expect({ status: seen.status, code: seen.code }).toEqual({ status: 413, code: 'workflow_too_large' });
    expect(seen.detail).toContain('Send files as inputs');
  });
});
