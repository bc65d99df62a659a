import type { Limits } from '../../contract/limits.ts';
import { putAsset } from '../../storage/r2/assets.ts';
import { Spool } from '../../storage/r2/spool.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Result } from '../../domain/result.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { inspect, inspectStored } from './inspect.ts';
import type { ContentProblem } from './refusals.ts';
import { HEAD_BYTES } from '../../domain/files/sniff.ts';
import { hex } from '../../lib/hash.ts';

/** A received file that begins at `offset` of a spool. */
export type SpooledFile = { spool: Spool; offset: number; size_bytes: number; sha256: string };

/** @param expected the exact or maximum number of bytes of the request; null when unknown */
export const openSpool = (context: ServiceContext, caller: Caller, expected: number | null): Spool =>
  new Spool(context.env.BUCKET, caller.account, context.newId(), expected);

/** Writes one file into a spool, and hashes and counts its bytes. A spool holds several files one after another. */
export class SpoolWriter {
  private readonly spool: Spool;
  private readonly offset: number;
  private readonly digest = new crypto.DigestStream('SHA-256');
  private readonly hashing = this.digest.getWriter();

  constructor(spool: Spool) {
    this.spool = spool;
    this.offset = spool.length;
    // The digest is awaited only on success. Without this handler, discarding a file would cause an unhandled
    // rejection.
    this.digest.digest.catch(() => {});
  }

  /** The number of bytes received. */
  get size(): number {
    return this.spool.length - this.offset;
  }

  /** The bytes received, while all of them are in memory. */
  get beginning(): Uint8Array | null {
    return this.spool.inMemory?.subarray(this.offset) ?? null;
  }

  /** Adds bytes. The caller may overwrite them once this resolves. */
  async write(bytes: Uint8Array): Promise<void> {
    await this.hashing.write(bytes);
    await this.spool.write(bytes);
  }

  async finish(): Promise<SpooledFile> {
    const { spool, offset, size } = this;
    await this.hashing.close();
    return { spool, offset, size_bytes: size, sha256: hex(await this.digest.digest) };
  }

  /** Discards the file. Its bytes are deleted with the spool. */
  discard(): Promise<void> {
    return this.hashing.abort();
  }
}

/** Returns the type of a file in a closed spool, or why it is not accepted. */
export async function inspectSpooled(
  { spool, offset, size_bytes }: SpooledFile,
  name: string | undefined,
  limits: Limits,
): Promise<Result<{ content_type: string }, ContentProblem>> {
  const file = { size_bytes, name };
  const held = spool.inMemory;
  if (held !== null) {
    return inspect(held.subarray(offset, offset + size_bytes), file, limits);
  }
  const read = (from: number, length: number): Promise<Uint8Array> =>
    spool.read(offset + from, Math.max(0, Math.min(length, size_bytes - from)));
  return spool.inTurn(async () => inspectStored((await read(0, HEAD_BYTES)).slice(), file, limits, read));
}

/** Stores a file of a closed spool under its hash. `created` is false when it was already stored. */
export async function placeSpooled(
  context: ServiceContext,
  caller: Caller,
  { spool, offset, size_bytes, sha256 }: SpooledFile,
  content_type: string,
): Promise<{ asset: StoredFile; created: boolean }> {
  const put = (content: Uint8Array | ReadableStream) =>
    putAsset(context.env.BUCKET, caller.account, { sha256, content_type }, content);
  const held = spool.inMemory;
  if (held !== null) {
    return put(held.subarray(offset, offset + size_bytes));
  }
  const stream = spool.stream(offset, size_bytes);
  try {
    return await put(stream);
  } finally {
    // R2 does not read the body when it already has the file.
    void stream.cancel().catch(() => {});
  }
}
