import { afterEach, expect } from 'vitest';

/**
 * Where broken answers are noted besides being thrown: a client under test may take the error for a lost connection and try again.
 * What was noted fails the test it happened in. To be called once, while a test file is being collected.
 */
export function notedIssues(): (issue: string) => void {
  const issues: string[] = [];
  afterEach(() => expect(issues.splice(0)).toEqual([]));
  return (issue) => void issues.push(issue);
}
