import { afterEach, expect } from 'vitest';

/**
 * Collects violations of the OpenAPI document and fails the test they occur in. They are thrown too, but a client under test
 * may treat that as a lost connection and retry. Call once, while a test file is collected.
 */
export function collectViolations(): (violation: string) => void {
  const violations: string[] = [];
  afterEach(() => expect(violations.splice(0)).toEqual([]));
  return (violation) => void violations.push(violation);
}
