import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signToken, isTokenValid, type TokenBinding } from './tokens.ts';

const SECRET = 'a secret of this test, thirty-two+';
const JOB = '0192f0c1-0000-7000-8000-000000000000';
const EXPIRES_AT = 1_800_000_000_000;
const binding: TokenBinding = { purpose: 'worker', job: JOB, attempt: 1 };
const isValid = (token: string, over: Partial<TokenBinding> = {}, now = EXPIRES_AT - 1, secret = SECRET) =>
  isTokenValid(secret, { ...binding, ...over }, token, now);

describe('a token', () => {
  it('is valid for its binding until it expires', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    expect(await isValid(token)).toBe(true);
    expect(await isValid(token, {}, EXPIRES_AT)).toBe(true);
    expect(await isValid(token, {}, EXPIRES_AT + 1)).toBe(false);
  });

  it('is not valid for another binding or another secret', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    expect(await isValid(token, { purpose: 'webhook' })).toBe(false);
    expect(await isValid(token, { job: JOB.replace('c1', 'c2') })).toBe(false);
    expect(await isValid(token, { attempt: 2 })).toBe(false);
    expect(await isValid(token, { attempt: 11 })).toBe(false);
    expect(await isValid(token, { attempt: Number.NaN })).toBe(false);
    expect(await isValid(token, {}, EXPIRES_AT - 1, `${SECRET}!`)).toBe(false);
  });

  it('is valid to the end of the second in which it expires', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT + 1);
    expect(await isValid(token, {}, EXPIRES_AT + 1)).toBe(true);
    expect(await isValid(token, {}, EXPIRES_AT + 1_001)).toBe(false);
  });

  it('is not valid after any one character was changed', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: token.length - 1 }),
        fc.constantFrom(...'ABCDwxyz0189-_.+/='.split('')),
        async (at, char) => {
          const altered = `${token.slice(0, at)}${char}${token.slice(at + 1)}`;
          fc.pre(altered !== token);
          expect(await isValid(altered)).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is not valid in another spelling', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    for (const other of [`0${token}`, `${token} `, ` ${token}`, `${token}=`, token.toUpperCase(), `${token}\n`]) {
      expect(await isValid(other)).toBe(false);
    }
    expect(await isValid(token.replace('.', '.A').slice(0, -1))).toBe(false);
  });

  it('is not valid when it is an arbitrary text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 80 }), async (text) => {
        expect(await isValid(text)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it('is not valid with a later expiry', async () => {
    const [, mac] = (await signToken(SECRET, binding, EXPIRES_AT)).split('.');
    expect(await isValid(`${EXPIRES_AT / 1000 + 3600}.${mac}`)).toBe(false);
  });
});
