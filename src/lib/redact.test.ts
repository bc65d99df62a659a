import { describe, expect, it } from 'vitest';
import { redact } from './redact.ts';

const MAC = 'x'.repeat(43);

describe('a text for the log', () => {
  it.each([
    [
      'fetch failed: https://user:pw@host.test/a/b?X-Amz-Signature=abc&t=1',
      'fetch failed: https://host.test/a/b?[redacted]',
    ],
    ['see "https://host.test/a#frag"', 'see "https://host.test/a?[redacted]"'],
    ['key ce_live_abcDEF123 was sent', 'key ce_live_[redacted] was sent'],
    [`?token=ce_read_0193-aa.1800000000.${MAC}`, '?token=ce_read_[redacted]'],
    ['whsec_c2VjcmV0+/==', 'whsec_[redacted]'],
    ['Authorization: Bearer abc.def-1', 'Authorization: Bearer [redacted]'],
    [`/hooks/x?token=1800000000.${MAC}`, '/hooks/x?token=[redacted]'],
  ])('loses the secret in %s', (text, clean) => {
    expect(redact(text)).toBe(clean);
  });

  it.each([
    'GET /v1/jobs/0193-aa/outputs/a.png',
    'no such column: status at offset 7',
    'https://host.test/path',
    '2026-11-21T06:00:00.000Z',
  ])('does not change: %s', (text) => {
    expect(redact(text)).toBe(text);
  });
});
