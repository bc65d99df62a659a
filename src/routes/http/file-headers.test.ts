import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { mediaTypeOf, UNKNOWN_TYPE } from '../../contract/media-type.ts';
import { storedTypeOf } from '../../domain/files/presentation.ts';
import { contentHeaders } from './file-headers.ts';

const VERSION = { etag: '"e"', modified: new Date(0) };
const PRINTABLE_ASCII = /^[ -~]*$/;

const anyText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.string({ unit: 'binary-ascii', maxLength: 60 }),
  // Lone surrogates, which are valid in the gateway's strings and in no header.
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 30 }).map((units) => String.fromCharCode(...units)),
);
const anyType = fc.oneof(
  anyText,
  anyText.map((text) => `text/plain; charset="${text}"`),
  anyText.map((text) => `text/plain; charset=${text}`),
);

describe('headers of a stored file', () => {
  it('contain only printable ASCII for every name and type', () => {
    fc.assert(
      fc.property(anyText, anyType, (name, content_type) => {
        const headers = Object.values(contentHeaders({ name, content_type }, VERSION));
        expect(headers.filter((value) => !PRINTABLE_ASCII.test(value))).toEqual([]);
        expect(storedTypeOf(content_type)).toMatch(PRINTABLE_ASCII);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each(['a\u2028b.png', 'a\u202egnp.exe', 'a\u2066b', 'a\u0085b', 'a\r\nb'])(
    'name the file without characters that reorder it or end its line: %j',
    (name) => {
      const headers = contentHeaders({ name, content_type: 'image/png' }, VERSION);
      expect(headers['content-disposition']).not.toMatch(/%E2%80%A8|%E2%80%AE|%E2%81%A6|%C2%85|%0D|%0A/);
    },
  );
});

describe('a media type from outside', () => {
  it.each([
    'image/png',
    'IMAGE/PNG',
    'text/plain; charset=utf-8',
    'text/plain;charset="utf-8"',
    'multipart/form-data; boundary="a b!#[]~"',
    'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  ])('is kept: %s', (type) => {
    expect(mediaTypeOf(type)).toBe(type);
  });

  it.each([
    '',
    'image',
    'image/',
    'image/png;',
    'image/png\n',
    'text/plain; a="\0"',
    'text/plain; a="é"',
    'text/plain; a="\\"',
    `image/${'x'.repeat(250)}`,
  ])('counts as unknown: %j', (type) => {
    expect(mediaTypeOf(type)).toBe(UNKNOWN_TYPE);
  });
});
