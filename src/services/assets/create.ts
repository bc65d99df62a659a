import type { Limits } from '../../contract/limits.ts';
import { runInBackground } from '../../providers/background.ts';
import { findAsset } from '../../storage/r2/assets.ts';
import type { Spool } from '../../storage/r2/spool.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { storeAsset, type AssetAnswer } from './store.ts';
import { inspect, INSPECTED_BYTES } from './inspect.ts';
import { tooLarge } from './refusals.ts';
import { HEAD_BYTES } from '../../domain/files/sniff.ts';
import { inspectSpooled, openSpool, placeSpooled, SpoolWriter } from './spooled.ts';

/**
 * An incoming file. `name` (from a form) only helps to distinguish kinds of text. `size`: its exact or maximum number
 * of bytes. A file of known size is stored in one piece, and with an exact size an unusable large file is rejected
 * before it has arrived completely. `forJob`: the file comes with a job and is deleted with the jobs that use it.
 */
export type IncomingFile = {
  /** Each chunk is valid until the next one is requested. */
  chunks: AsyncIterable<Uint8Array>;
  name?: string;
  size?: { bytes: number; isExact: boolean };
  forJob?: boolean;
};

export const incompleteBody: Problem = {
  code: 'incomplete_body',
  detail: 'The request body was incomplete or timed out.',
};

/**
 * Stores a file in the caller's account under the SHA-256 of its content, which is computed here. Only a small part is
 * in memory at any time: a small file is stored directly, and a larger one is spooled and then moved
 * (docs/decisions/0056).
 */
export function createAsset(
  context: ServiceContext,
  caller: Caller,
  file: IncomingFile,
): Promise<Result<AssetAnswer, Problem>> {
  const spool = openSpool(context, caller, file.size?.bytes ?? null);
  const done = create(context, caller, file, spool).finally(() => spool.discard());
  // The spool is deleted even when the client disconnects and its request ends.
  runInBackground(done);
  return done;
}

async function create(
  context: ServiceContext,
  caller: Caller,
  file: IncomingFile,
  spool: Spool,
): Promise<Result<AssetAnswer, Problem>> {
  const writer = new SpoolWriter(spool);
  const problem = await receive(context, file, writer);
  if (problem !== null) {
    await writer.discard();
    return fail(problem);
  }
  const spooled = await writer.finish();
  await spool.close();
  const inspected = await inspectSpooled(spooled, file.name, context.config.limits);
  if (!inspected.ok) {
    return inspected;
  }
  return storeAsset(context, caller, file.forJob !== true, async () => {
    const known = await findAsset(context.env.BUCKET, caller.account, spooled.sha256);
    return ok(
      known === null
        ? await placeSpooled(context, caller, spooled, inspected.value.content_type)
        : { asset: known, created: false },
    );
  });
}

/**
 * Writes the file into its spool until a check rejects it; null: all of it is written. An aborted body is a client
 * error.
 */
async function receive(context: ServiceContext, file: IncomingFile, writer: SpoolWriter): Promise<Problem | null> {
  const { limits } = context.config;
  const chunks = file.chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await chunks.next().catch(() => null);
      if (next === null) {
        return incompleteBody;
      }
      if (next.done === true) {
        return writer.size === 0 ? { code: 'empty_file', detail: 'The file is empty.' } : null;
      }
      const { value: chunk } = next;
      if (writer.size + chunk.length > limits.max_asset_bytes) {
        return tooLarge(limits.max_asset_bytes, limits.max_upload_bytes);
      }
      const rejection = rejectEarly(file, writer.beginning, chunk.length, limits);
      if (rejection !== null) {
        return rejection;
      }
      await writer.write(chunk);
    }
  } finally {
    await chunks.return?.();
  }
}

/** Inspects a large file as soon as its beginning has arrived. */
function rejectEarly(
  { size, name }: IncomingFile,
  beginning: Uint8Array | null,
  next: number,
  limits: Limits,
): Problem | null {
  const isNext = beginning !== null && beginning.length >= HEAD_BYTES && beginning.length + next > INSPECTED_BYTES;
  if (size?.isExact !== true || !isNext) {
    return null;
  }
  const inspected = inspect(beginning, { size_bytes: size.bytes, name }, limits);
  return inspected.ok ? null : inspected.problem;
}
