import { test } from 'vitest';
import { median, table } from './table.ts';

test('the median of samples in any order is the middle one, or the mean of the middle two', ({ expect }) => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([10, 1, 2, 4])).toBe(3);
  expect(median([])).toBeNaN();
});

test('a row shows median, minimum, maximum and target', ({ expect }) => {
  const rows = [
    { what: 'a', aim: 15, samples: [3, 1, 2] },
    { what: 'longer', aim: null, samples: [10] },
  ];
  expect(table(rows).split('\n')).toEqual([
    '| ms     |  aim | median |  min |  max | runs |',
    '| ------ | ---: | -----: | ---: | ---: | ---: |',
    '| a      | ≤ 15 |    2.0 |  1.0 |  3.0 |    3 |',
    '| longer |      |   10.0 | 10.0 | 10.0 |    1 |',
  ]);
});
