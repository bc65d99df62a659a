/** What no log line may hold, wherever it came from: an error's text can quote what it failed on. */
const SECRETS: readonly [pattern: RegExp, instead: string][] = [
  // User and password in a URL, and its query: signatures and tokens travel there.
  [/\b(https?:\/\/)[^\s/?#"'<>]*@/gi, '$1'],
  [/\b(https?:\/\/[^\s?#"'<>]*)[?#][^\s"'<>]*/gi, '$1?[redacted]'],
  // API keys and read tokens of ours (domain/key/format.ts, services/auth/read-token.ts).
  [/\bce_(live|test|read)_[\w.-]+/g, 'ce_$1_[redacted]'],
  // Secrets of webhooks (Standard Webhooks), and whatever is sent as a credential.
  [/\bwhsec_[\w+/=-]+/g, 'whsec_[redacted]'],
  [/\b(bearer|basic)\s+[\w.~+/=-]+/gi, '$1 [redacted]'],
  // Tokens of workers and of RunPod's webhook (providers/tokens.ts).
  [/\b\d{9,12}\.[\w-]{43}(?![\w-])/g, '[redacted]'],
];

/** The text without what looks like a secret. A net below the rule that none is logged in the first place. */
export const redact = (text: string): string =>
  SECRETS.reduce((clean, [pattern, instead]) => clean.replace(pattern, instead), text);
