import { describe, expect, it } from 'vitest';
import { csvLine } from './csv.ts';

describe('a line of CSV', () => {
  it('quotes only cells that need it', () => {
    expect(csvLine(['a', 1.5, null, '', 'b,c', 'say "hi"', 'two\nlines', 'ünï'])).toBe(
      'a,1.5,,,"b,c","say ""hi""","two\nlines",ünï\r\n',
    );
  });

  it.each(['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1', '=HYPERLINK("http://evil","x")'])(
    'does not contain a formula for %j',
    (text) => {
      const [first = ''] = csvLine([text]).replace(/^"/, '');
      expect(first).toBe("'");
    },
  );

  it('does not change negative numbers', () => {
    expect(csvLine([-1])).toBe('-1\r\n');
  });
});
