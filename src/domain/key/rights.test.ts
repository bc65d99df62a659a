import { describe, expect, it } from 'vitest';
import { exceeds, type Rights } from './rights.ts';
import { GRANTS, SCOPES, grants } from './scopes.ts';

const FREE: Rights = {
  environment: 'live',
  scopes: ['jobs:*', 'keys:*'],
  expires_at: null,
  ip_allow: null,
  endpoints: null,
  templates: null,
  nodes: null,
};
const BOUND: Rights = {
  environment: 'test',
  scopes: ['jobs:read', 'keys:write'],
  expires_at: 1000,
  ip_allow: ['203.0.113.0/24'],
  endpoints: ['default'],
  templates: ['poster'],
  nodes: { allow: ['Load*', 'SaveImage'], deny: ['LoadLora'] },
};

describe('a scope', () => {
  it('is granted by itself, by the wildcard of its kind, and by admin', () => {
    for (const scope of SCOPES) {
      const holders = GRANTS.filter((grant) => grants([grant], scope));
      const kind = scope.split(':')[0] ?? '';
      expect(holders.toSorted()).toEqual(
        GRANTS.filter((grant) =>
          ['admin', scope, ...(scope === 'admin' ? [] : [`${kind}:*`])].includes(grant),
        ).toSorted(),
      );
    }
  });
});

describe('the rights of a new key', () => {
  it('may equal those of the key that creates it, and are free for the operator', () => {
    expect(exceeds(FREE, FREE)).toBeNull();
    expect(exceeds(BOUND, BOUND)).toBeNull();
    expect(exceeds(null, { ...FREE, scopes: ['admin'] })).toBeNull();
  });

  it('may be fewer than those of the key that creates it', () => {
    expect(exceeds(FREE, BOUND)).toBeNull();
    const less: Rights = {
      ...BOUND,
      scopes: ['jobs:read'],
      expires_at: 999,
      ip_allow: ['203.0.113.128/25', '203.0.113.1'],
      nodes: { allow: ['LoadImage*'], deny: ['LoadL*', 'Other'] },
    };
    expect(exceeds(BOUND, less)).toBeNull();
  });

  it.each<[string, Partial<Rights>]>([
    ['environment', { environment: 'live' }],
    ['expires_at', { expires_at: null }],
    ['expires_at', { expires_at: 1001 }],
    ['ip_allow', { ip_allow: null }],
    ['ip_allow', { ip_allow: ['203.0.113.0/24', '203.0.114.1'] }],
    ['ip_allow', { ip_allow: ['203.0.112.0/23'] }],
    ['endpoints', { endpoints: null }],
    ['endpoints', { endpoints: ['default', 'narrow'] }],
    ['templates', { templates: null }],
    ['templates', { templates: ['other'] }],
    ['nodes', { nodes: null }],
    ['nodes', { nodes: { allow: ['L*'], deny: ['LoadLora'] } }],
    ['nodes', { nodes: { allow: ['SaveImage'] } }],
    ['nodes', { nodes: { allow: ['?oadImage'], deny: ['LoadLora'] } }],
    ['nodes', { nodes: { allow: ['Load*'], deny: ['LoadLor[a]', 'Lora*'] } }],
  ])('may not exceed %s: %j', (field, more) => {
    const refused = exceeds(BOUND, { ...BOUND, ...more });
    expect(refused).toMatchObject({ code: 'exceeds_key', detail: expect.stringContaining(field) as string });
  });

  it.each(['admin', 'jobs:write', 'jobs:*', 'keys:read'])('may not include the missing scope %s', (scope) => {
    const refused = exceeds(BOUND, { ...BOUND, scopes: ['jobs:read', scope] });
    expect(refused).toMatchObject({ code: 'insufficient_scope', detail: expect.stringContaining(scope) as string });
  });
});
