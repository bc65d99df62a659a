import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Base64Stream } from './base64-stream.ts';

/** All bytes of text that comes cut at these places, or null. */
function decode(text: string, cuts: readonly number[]): Uint8Array | null {
  const stream = new Base64Stream();
  const bytes: number[] = [];
  const edges = [0, ...cuts.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b), text.length];
  for (const [at, edge] of edges.slice(1).entries()) {
    const piece = stream.push(text.slice(edges[at], edge));
    if (piece === null) {
      return null;
    }
    bytes.push(...piece);
  }
  return stream.complete ? new Uint8Array(bytes) : null;
}

describe('base64 that arrives in pieces', () => {
  it('is what was encoded, wherever it is cut, with line breaks or without', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 100 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        fc.boolean(),
        (content, cuts, lines) => {
          const plain = content.toBase64();
          expect(decode(lines ? plain.replaceAll(/.{7}/g, '$&\r\n') : plain, cuts)).toEqual(content);
        },
      ),
    );
  });

  it.each(['A', 'AB', 'ABC', 'AB=', 'A===', 'AB==CD==', 'QQ==QQ', 'AB-_', 'hello world', 'é'])(
    'is refused where it is none: %s',
    (text) => {
      expect(decode(text, [])).toBeNull();
      expect(decode(text, [1, 2, 3])).toBeNull();
    },
  );
});
