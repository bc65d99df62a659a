import type { Context } from 'hono';
import { IDEMPOTENCY_KEY_FAULT, isIdempotencyKey } from '../../core/idempotency-key.ts';
import { fail, ok, type Result } from '../../core/result.ts';
import type { AppEnv } from '../app-env.ts';
import type { Refusal } from './body.ts';

/** Visible ASCII and spaces, bare; or the same as a quoted string of RFC 9651, in which `"` and `\` are escaped. */
const BARE = /^[\x21\x23-\x5b\x5d-\x7e](?:[\x20\x21\x23-\x5b\x5d-\x7e]*[\x21\x23-\x5b\x5d-\x7e])?$/;
const QUOTED = /^"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"$/;

/** The `Idempotency-Key` of a request, null when it has none. `"a"` and `a` are the same key. */
export function idempotencyKey(c: Context<AppEnv>): Result<string | null, Refusal> {
  const header = c.req.header('idempotency-key');
  if (header === undefined) {
    return ok(null);
  }
  const text = header.trim();
  const key = QUOTED.exec(text)?.[1]?.replaceAll(/\\(["\\])/g, '$1') ?? (BARE.test(text) ? text : '');
  return isIdempotencyKey(key)
    ? ok(key)
    : fail({ code: 'invalid_idempotency_key', detail: `${IDEMPOTENCY_KEY_FAULT}, bare or in double quotes` });
}

/** Hashes a request as it comes, to tell whether a later one is the same: method, path, and every byte of the body. */
export class Fingerprint {
  private readonly stream = new crypto.DigestStream('SHA-256');
  private readonly writer = this.stream.getWriter();
  private written: Promise<void>;

  constructor(c: Context<AppEnv>) {
    this.written = this.writer.write(new TextEncoder().encode(`${c.req.method} ${c.req.path}\n`));
  }

  add(chunk: Uint8Array): void {
    // Writes are taken in order; a stream that fails says so when it ends.
    this.written = this.writer.write(chunk);
  }

  async hex(): Promise<string> {
    await this.written;
    await this.writer.close();
    return new Uint8Array(await this.stream.digest).toHex();
  }
}
