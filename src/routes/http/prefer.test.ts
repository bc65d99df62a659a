import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { preferredWait } from './prefer.ts';

describe('a preferred wait', () => {
  it.each([
    ['wait=10', 10],
    ['wait="10"', 10],
    ['Wait = 10', 10],
    ['respond-async, wait=10', 10],
    ['wait=10, respond-async', 10],
    ['handling=lenient; a="b, wait=1"; c, wait=7;foo=bar', 7],
    ['foo="a\\", wait=1", wait=2', 2],
    ['wait=0', 0],
    ['wait=60', 60],
    ['wait=61', 60],
    [`wait=${'9'.repeat(400)}`, 60],
    ['wait=5, wait=9', 5],
    [', ,wait=3,', 3],
  ])('is read from %j', (header, seconds) => {
    expect(preferredWait(header)).toBe(seconds);
  });

  it.each([
    undefined,
    '',
    'respond-async',
    'wait',
    'wait=',
    'wait=""',
    'wait=-1',
    'wait=1.5',
    'wait=1e1',
    'wait=0x10',
    'wait= 1 0',
    'wait=ten',
    'wait 10',
    'wait=x, wait=9',
    'foo="wait=10',
    'foo="a, wait=10"',
    'foo; wait=10',
    'awaits=10',
    'wait=１０',
  ])('is null for the malformed %j', (header) => {
    expect(preferredWait(header)).toBeNull();
  });

  it('is null or 0 to 60 whole seconds for every header', () => {
    const parts = fc.constantFrom('wait', '=', ',', ';', '"', '\\', ' ', '5', '99', 'respond-async', '\t', 'é');
    const header = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(parts, { maxLength: 30 }).map((all) => all.join('')),
    );
    fc.assert(
      fc.property(header, (text) => {
        const seconds = preferredWait(text);
        expect(seconds === null || (Number.isInteger(seconds) && seconds >= 0 && seconds <= 60)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
