import { describe, expect, it } from 'vitest';
import { clearIsolateCaches, IsolateCache } from './isolate-cache.ts';

const filled = (options: { maxEntries: number; ttlMs?: number }, keys: string[]) => {
  const cache = new IsolateCache<string, string>(options);
  keys.forEach((key, at) => cache.set(key, key.toUpperCase(), at));
  return cache;
};

describe('an isolate cache', () => {
  it('returns a value until it is ttlMs old', () => {
    const cache = filled({ maxEntries: 9, ttlMs: 10 }, ['a']);
    expect([cache.get('a', 9), cache.get('a', 10)]).toEqual(['A', undefined]);
  });

  it('returns a value without end where no ttlMs is given', () => {
    expect(filled({ maxEntries: 9 }, ['a']).get('a', Number.MAX_SAFE_INTEGER)).toBe('A');
  });

  it('accepts a shorter age for one read, and an earlier end for one value', () => {
    const cache = filled({ maxEntries: 9, ttlMs: 10 }, ['a']);
    expect([cache.get('a', 4, 5), cache.get('a', 5, 5), cache.get('a', 5, 50)]).toEqual(['A', undefined, 'A']);
    cache.set('b', 'B', 0, 3);
    expect([cache.get('b', 2), cache.get('b', 3)]).toEqual(['B', undefined]);
  });

  it('does not return a value of the future, after the clock was set back', () => {
    const cache = new IsolateCache<string, string>({ maxEntries: 9, ttlMs: 10 });
    cache.set('a', 'A', 100);
    expect(cache.get('a', 99)).toBeUndefined();
  });

  it('removes the oldest entry when it is full, and counts a value that was set again as new', () => {
    const cache = filled({ maxEntries: 2 }, ['a', 'b']);
    cache.set('a', 'A2', 5);
    cache.set('c', 'C', 6);
    expect([cache.get('a', 9), cache.get('b', 9), cache.get('c', 9)]).toEqual(['A2', undefined, 'C']);
  });

  it('deletes one value, the values that match, and all of every cache', () => {
    const [one, other] = [filled({ maxEntries: 9 }, ['a', 'b', 'c']), filled({ maxEntries: 9 }, ['a'])];
    one.delete('a');
    one.deleteWhere((value) => value === 'B');
    expect([one.get('a', 9), one.get('b', 9), one.get('c', 9)]).toEqual([undefined, undefined, 'C']);
    clearIsolateCaches();
    expect([one.get('c', 9), other.get('a', 9)]).toEqual([undefined, undefined]);
  });
});
