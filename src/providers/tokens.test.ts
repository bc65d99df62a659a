import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { signToken, tokenStands, type TokenBinding } from './tokens.ts';

const SECRET = 'a secret of this test, thirty-two+';
const JOB = '0192f0c1-0000-7000-8000-000000000000';
const EXPIRES_AT = 1_800_000_000_000;
const binding: TokenBinding = { purpose: 'worker', job: JOB, attempt: 1 };
const stands = (token: string, over: Partial<TokenBinding> = {}, now = EXPIRES_AT - 1, secret = SECRET) =>
  tokenStands(secret, { ...binding, ...over }, token, now);

describe('a token', () => {
  it('stands for what it was signed for, until it expires', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    expect(await stands(token)).toBe(true);
    expect(await stands(token, {}, EXPIRES_AT)).toBe(true);
    expect(await stands(token, {}, EXPIRES_AT + 1)).toBe(false);
  });

  it('stands for nothing else', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    expect(await stands(token, { purpose: 'webhook' })).toBe(false);
    expect(await stands(token, { job: JOB.replace('c1', 'c2') })).toBe(false);
    expect(await stands(token, { attempt: 2 })).toBe(false);
    expect(await stands(token, { attempt: 11 })).toBe(false);
    expect(await stands(token, { attempt: Number.NaN })).toBe(false);
    expect(await stands(token, {}, EXPIRES_AT - 1, `${SECRET}!`)).toBe(false);
  });

  it('that expires within a second is good to the end of that second, not shorter than asked', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT + 1);
    expect(await stands(token, {}, EXPIRES_AT + 1)).toBe(true);
    expect(await stands(token, {}, EXPIRES_AT + 1_001)).toBe(false);
  });

  it('altered in any one character does not stand', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 0, max: token.length - 1 }),
        fc.constantFrom(...'ABCDwxyz0189-_.+/='.split('')),
        async (at, char) => {
          const altered = `${token.slice(0, at)}${char}${token.slice(at + 1)}`;
          fc.pre(altered !== token);
          expect(await stands(altered)).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('has one spelling only', async () => {
    const token = await signToken(SECRET, binding, EXPIRES_AT);
    for (const other of [`0${token}`, `${token} `, ` ${token}`, `${token}=`, token.toUpperCase(), `${token}\n`]) {
      expect(await stands(other)).toBe(false);
    }
    expect(await stands(token.replace('.', '.A').slice(0, -1))).toBe(false);
  });

  it('is never mistaken for one in arbitrary text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 80 }), async (text) => {
        expect(await stands(text)).toBe(false);
      }),
      { numRuns: 200 },
    );
  });

  it('whose expiry was pushed out does not stand', async () => {
    const [, mac] = (await signToken(SECRET, binding, EXPIRES_AT)).split('.');
    expect(await stands(`${EXPIRES_AT / 1000 + 3600}.${mac}`)).toBe(false);
  });
});
