import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { imageBytes, inputPieces, MAX_RUN_BODY_BYTES, roomForImages } from './input.ts';

const utf8 = (text: string): number => new TextEncoder().encode(text).length;

describe('the input of worker-comfyui', () => {
  it('contains the graph and its images', () => {
    const pieces = inputPieces('{"1":{"class_type":"LoadImage","inputs":{"image":"é \\"x\\".png"}}}', [
      { name: 'é "x".png', base64: 'QUJD' },
      { name: 'b.png', base64: '' },
    ]);
    expect(JSON.parse(pieces.join(''))).toEqual({
      workflow: { '1': { class_type: 'LoadImage', inputs: { image: 'é "x".png' } } },
      images: [
        { name: 'é "x".png', image: 'QUJD' },
        { name: 'b.png', image: '' },
      ],
    });
    expect(JSON.parse(inputPieces('{}', []).join(''))).toEqual({ workflow: {}, images: [] });
  });

  it('is at most 6,000 bytes smaller than the computed size, and never larger', () => {
    fc.assert(
      fc.property(
        fc.json(),
        fc.array(fc.record({ name: fc.string({ unit: 'grapheme' }), content: fc.uint8Array({ maxLength: 200 }) }), {
          maxLength: 5,
        }),
        (workflow, files) => {
          const real = utf8(
            inputPieces(
              workflow,
              files.map(({ name, content }) => ({ name, base64: content.toBase64() })),
            ).join(''),
          );
          const counted =
            MAX_RUN_BODY_BYTES -
            roomForImages(workflow) +
            files.reduce((sum, { name, content }) => sum + imageBytes({ name, size_bytes: content.length }), 0);
          expect(counted).toBeGreaterThan(real);
          expect(counted - real).toBeLessThan(6_000);
        },
      ),
    );
  });
});
