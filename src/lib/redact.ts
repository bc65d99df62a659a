/** Secrets that must not be in a log line. The text of an error can quote the value that it failed on. */
const SECRETS: readonly [pattern: RegExp, instead: string][] = [
  // User and password of a URL, and its query, which can contain signatures and tokens.
  [/\b(https?:\/\/)[^\s/?#"'<>]*@/gi, '$1'],
  [/\b(https?:\/\/[^\s?#"'<>]*)[?#][^\s"'<>]*/gi, '$1?[redacted]'],
  // The gateway's API keys and read tokens (domain/key/format.ts, services/auth/read-token.ts).
  [/\bce_(live|test|read)_[\w.-]+/g, 'ce_$1_[redacted]'],
  // Secrets of webhooks (Standard Webhooks), and credentials of an Authorization header.
  [/\bwhsec_[\w+/=-]+/g, 'whsec_[redacted]'],
  [/\b(bearer|basic)\s+[\w.~+/=-]+/gi, '$1 [redacted]'],
  // Tokens of workers and of RunPod's webhook (providers/tokens.ts).
  [/\b\d{9,12}\.[\w-]{43}(?![\w-])/g, '[redacted]'],
];

/**
 * The text without anything that looks like a secret. It is a second line of defense: secrets must not be logged at
 * all.
 */
export const redact = (text: string): string =>
  SECRETS.reduce((clean, [pattern, instead]) => clean.replace(pattern, instead), text);
