import { describe, expect, it } from 'vitest';
import { anyone, ORIGIN, problemOf } from '../../testing/gateway.ts';
import { ERROR_CODES, errorOf } from '../../contract/errors.ts';
import { html } from './page.ts';

describe('the reference', () => {
  it('shows every operation of the OpenAPI document, without a key and without a script', async () => {
    const response = await anyone('/docs');
    expect(response.status).toBe(200);
    expect(response.headers.get('content-security-policy')).toContain("default-src 'none'");
    const text = await response.text();
    const { paths } = await (
      await anyone('/openapi.json')
    ).json<{ paths: Record<string, Record<string, { operationId: string }>> }>();
    for (const operation of Object.values(paths).flatMap((methods) => Object.values(methods))) {
      expect(text).toContain(`<h2 id="${operation.operationId}">`);
    }
    expect(text).toContain(
      'Needs a key with <code>jobs:read</code>, or a read token of the job, or a read token in ?token=.',
    );
    expect(text).toContain('Needs a key with <code>keys:write</code>, or the operator’s ADMIN_TOKEN.');
    expect(text).toContain('&quot;PROMPT&quot;: &quot;a castle at dawn&quot;');
    expect(text).not.toContain('<script');
  });

  it.each(ERROR_CODES)('has a page for the type of %s', async (code) => {
    const response = await anyone(`${ORIGIN}/problems/${code}`);
    expect(response.status).toBe(200);
    expect(await response.text()).toContain(html`${errorOf(code).title}`.markup);
  });

  it('has no page for a problem that does not exist', async () => {
    expect((await problemOf(await anyone('/problems/nope'))).status).toBe(404);
  });

  it('escapes every value in a page', () => {
    expect(html`<p>${`<img src="x" onerror='y'>&`}</p>`.markup).toBe(
      '<p>&lt;img src=&quot;x&quot; onerror=&#39;y&#39;&gt;&amp;</p>',
    );
  });
});
