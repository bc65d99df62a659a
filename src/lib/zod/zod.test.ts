import * as zod from 'zod';
import { expect, it } from 'vitest';
import * as bundled from './index.ts';

const LEFT_OUT = ['core', 'locales'];

it('the bundle has everything that zod exports but LEFT_OUT', () => {
  const { default: _same, z, ...others } = zod;
  const { z: bundledZ, ...bundledOthers } = bundled;
  expect(Object.keys(others)).toEqual(expect.arrayContaining(LEFT_OUT));
  const kept = (names: object) => Object.keys(names).filter((name) => !LEFT_OUT.includes(name));
  expect(Object.keys(bundledOthers).sort()).toEqual(kept(others).sort());
  expect(Object.keys(bundledZ).sort()).toEqual(kept(z).sort());
});

it('the bundle has the English error messages of zod', () => {
  const said = bundled.string().safeParse(7).error?.issues;
  expect(said).toMatchObject([{ message: 'Invalid input: expected string, received number' }]);
  expect(said).toEqual(zod.string().safeParse(7).error?.issues);
});
