import { beforeAll, describe, expect, it } from 'vitest';
import { CLASSES, type Mix, type Part, type Release, startMixedGateway } from './mixed-gateway.ts';
import { previousRelease, thisRelease } from './release.ts';
import { tour } from './tour.ts';

/**
 * Guards deploys: for some minutes, code of two releases serves the same requests. A Worker calls objects of the other
 * release, and objects call each other across releases (docs/decisions/0054). Where this fails and no release was made since, `npm run freeze`.
 */

let code: Record<Release, string>;
beforeAll(async () => {
  code = { this: await thisRelease(), previous: previousRelease() };
});

const PARTS: Part[] = ['WORKER', ...(['JOB', 'ACCOUNT', 'WEBHOOK', 'ENDPOINT'] as const)];
const all = (release: Release): Mix => ({
  WORKER: release,
  JOB: release,
  ACCOUNT: release,
  WEBHOOK: release,
  ENDPOINT: release,
});
const nameOf = (part: Part): string => (part === 'WORKER' ? 'the Worker' : `${CLASSES[part]} objects`);

const MIXES: { what: string; mix: Mix }[] = [
  { what: 'all of this release', mix: all('this') },
  ...PARTS.map((part) => ({
    what: `only ${nameOf(part)} of this release`,
    mix: { ...all('previous'), [part]: 'this' as const },
  })),
  ...PARTS.map((part) => ({
    what: `only ${nameOf(part)} of the release before`,
    mix: { ...all('this'), [part]: 'previous' as const },
  })),
];

it('a gateway whose objects lack a method answers 503 with Retry-After and logs the method', async () => {
  const renamed = code.this.replaceAll(/(?<!\.)\bbeginUpload\(/g, 'methodOfTheNextRelease(');
  const gateway = await startMixedGateway(
    { this: code.this, previous: renamed },
    { ...all('this'), ACCOUNT: 'previous' },
  );
  try {
    await expect(tour(gateway)).rejects.toThrow(/POST \/v1\/uploads answered 503 .*"unavailable"/);
    expect(gateway.faults.join('\n')).toContain('does not implement the method \\"beginUpload\\"');
  } finally {
    await gateway.stop();
  }
});

describe.each(MIXES)('a gateway with $what', ({ mix }) => {
  it('serves every route without a 5xx', async () => {
    const gateway = await startMixedGateway(code, mix);
    try {
      await tour(gateway);
      expect(gateway.faults).toEqual([]);
    } finally {
      await gateway.stop();
    }
  });
});
