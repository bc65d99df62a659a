import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readWatchFrame, writeWatchFrame, type WatchFrame } from './events.ts';

const data = fc.jsonValue().map((value) => JSON.parse(JSON.stringify({ message: value })) as never);
const frame: fc.Arbitrary<WatchFrame> = fc.oneof(
  fc.record({
    event: fc.constantFrom('snapshot', 'status', 'progress', 'output', 'log'),
    id: fc.nat(),
    data,
  }) as fc.Arbitrary<WatchFrame>,
  fc.record({ event: fc.constant('preview' as const), data }),
);

describe('a frame', () => {
  it('is read as it was written, parsed and as text', () => {
    fc.assert(
      fc.property(frame, (written) => {
        const read = readWatchFrame(writeWatchFrame(written));
        expect(read.frame()).toEqual(written);
        expect({ event: read.event, id: read.id, data: JSON.parse(read.data) as unknown }).toEqual({
          event: written.event,
          id: 'id' in written ? written.id : null,
          data: written.data,
        });
      }),
    );
  });

  it('is read with its fields in the order of an older gateway', () => {
    fc.assert(
      fc.property(frame, (written) => {
        const { event, data: said, ...rest } = written;
        const read = readWatchFrame(JSON.stringify({ event, data: said, ...rest }));
        expect(read.frame()).toEqual(written);
        expect({ id: read.id, data: JSON.parse(read.data) as unknown }).toEqual({
          id: 'id' in written ? written.id : null,
          data: said,
        });
      }),
    );
  });
});
