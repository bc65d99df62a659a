import type { Idempotency } from '../../contract/admission.ts';
import { z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { IDEMPOTENCY_KEY_RULE, MAX_IDEMPOTENCY_KEY_CHARS } from '../../domain/idempotency-key.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import type { AppEnv } from '../http/app-env.ts';
import type { Problem } from '../../domain/problems.ts';
import { hex } from '../../lib/hash.ts';

/** A bare key without blanks at its ends, or a quoted string of RFC 9651, in which `"` and `\` are escaped. */
const BARE = String.raw`[\x21\x23-\x5b\x5d-\x7e](?:[\x20\x21\x23-\x5b\x5d-\x7e]{0,${MAX_IDEMPOTENCY_KEY_CHARS - 2}}[\x21\x23-\x5b\x5d-\x7e])?`;
const QUOTED = String.raw`"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,${MAX_IDEMPOTENCY_KEY_CHARS}})"`;
const HEADER = new RegExp(`^(?:${BARE}|${QUOTED})$`);

/** The header that `idempotencyKey` accepts, for the OpenAPI document. */
export const idempotencyKeyHeader = z
  .string()
  .regex(HEADER)
  .optional()
  .openapi({ description: `It ${IDEMPOTENCY_KEY_RULE}, bare or in double quotes.` });

/** The `Idempotency-Key` of a request; null without the header. `"a"` and `a` are the same key. */
export function idempotencyKey(c: Context<AppEnv>): Result<string | null, Problem> {
  const header = c.req.header('idempotency-key');
  if (header === undefined) {
    return ok(null);
  }
  const match = HEADER.exec(header);
  return match === null
    ? fail({
        code: 'invalid_idempotency_key',
        detail: `The Idempotency-Key ${IDEMPOTENCY_KEY_RULE}, bare or in double quotes.`,
      })
    : ok(match[1]?.replaceAll(/\\(["\\])/g, '$1') ?? header);
}

/**
 * Hashes a request as it arrives: method, path and body. The hash shows whether a later request with the same key is
 * the same.
 */
export class Fingerprint {
  private readonly key: string;
  private readonly stream = new crypto.DigestStream('SHA-256');
  private readonly writer = this.stream.getWriter();
  private readonly begun: Promise<void>;

  constructor(c: Context<AppEnv>, key: string) {
    this.key = key;
    this.begun = this.writer.write(new TextEncoder().encode(`${c.req.method} ${c.req.path}\n`));
  }

  /** Resolves when the chunk may be overwritten. */
  add(chunk: Uint8Array): Promise<void> {
    return this.writer.write(chunk);
  }

  /** The key and the hash, after the whole body has arrived. */
  async idempotency(): Promise<Idempotency> {
    await this.begun;
    await this.writer.close();
    return { key: this.key, fingerprint: hex(await this.stream.digest) };
  }
}
