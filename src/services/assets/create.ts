import type { Limits } from '../../config/schema.ts';
import { later } from '../../providers/background.ts';
import { findAsset } from '../../storage/r2/assets.ts';
import type { Spool } from '../../storage/r2/spool.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { keepAsset, type AssetAnswer } from './store.ts';
import { inspect, INSPECTED_BYTES } from './inspect.ts';
import { tooLarge } from './refusals.ts';
import { HEAD_BYTES } from '../../domain/files/sniff.ts';
import { inspectSpooled, openSpool, placeSpooled, SpoolWriter } from './spooled.ts';

/**
 * A file as it arrives. `name` (from a form) only helps to tell kinds of text apart. `size`: the bytes that it will have, or at most: it goes
 * into storage in one piece then, and where that is exact a large file of no use is refused before all of it is here. `forJob`: it comes
 * with a job, so it goes with the jobs that use it.
 */
export type IncomingFile = {
  /** Each is valid until the next is asked for. */
  chunks: AsyncIterable<Uint8Array>;
  name?: string;
  size?: { bytes: number; isExact: boolean };
  forJob?: boolean;
};

export const incompleteBody: CoreProblem = {
  code: 'incomplete_body',
  detail: 'the body ended, or stood still, before it was complete',
};

/**
 * Stores a file in the caller's account under the SHA-256 of its content, which is computed here. Little of it is in memory at any time:
 * a small file is put at once, a larger one is spooled and then moved (docs/decisions/0056).
 */
export function createAsset(core: Core, caller: Caller, file: IncomingFile): Promise<Result<AssetAnswer, CoreProblem>> {
  const spool = openSpool(core, caller, file.size?.bytes ?? null);
  const done = create(core, caller, file, spool).finally(() => spool.discard());
  // A client that leaves takes its request with it: what was spooled goes all the same.
  later(done);
  return done;
}

async function create(
  core: Core,
  caller: Caller,
  file: IncomingFile,
  spool: Spool,
): Promise<Result<AssetAnswer, CoreProblem>> {
  const writer = new SpoolWriter(spool);
  const problem = await receive(core, file, writer);
  if (problem !== null) {
    await writer.giveUp();
    return fail(problem);
  }
  const spooled = await writer.finish();
  await spool.close();
  const inspected = await inspectSpooled(spooled, file.name, core.config.limits);
  if (!inspected.ok) {
    return inspected;
  }
  return keepAsset(core, caller, file.forJob !== true, async () => {
    const known = await findAsset(core.env.BUCKET, caller.account, spooled.sha256);
    return ok(
      known === null
        ? await placeSpooled(core, caller, spooled, inspected.value.content_type)
        : { asset: known, created: false },
    );
  });
}

/** Writes the file into its spool, as far as it is wanted; null: all of it. One that breaks off is its sender's fault, not ours. */
async function receive(core: Core, file: IncomingFile, writer: SpoolWriter): Promise<CoreProblem | null> {
  const { limits } = core.config;
  const chunks = file.chunks[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await chunks.next().catch(() => null);
      if (next === null) {
        return incompleteBody;
      }
      if (next.done === true) {
        return writer.size === 0 ? { code: 'empty_file', detail: 'the file is empty' } : null;
      }
      const { value: chunk } = next;
      if (writer.size + chunk.length > limits.max_asset_bytes) {
        return tooLarge(limits.max_asset_bytes, limits.max_upload_bytes);
      }
      const unwanted = unwantedSoFar(file, writer.beginning, chunk.length, limits);
      if (unwanted !== null) {
        return unwanted;
      }
      await writer.write(chunk);
    }
  } finally {
    await chunks.return?.();
  }
}

/** Looks at a large file as soon as its beginning is there. */
function unwantedSoFar(
  { size, name }: IncomingFile,
  beginning: Uint8Array | null,
  next: number,
  limits: Limits,
): CoreProblem | null {
  const isNext = beginning !== null && beginning.length >= HEAD_BYTES && beginning.length + next > INSPECTED_BYTES;
  if (size?.isExact !== true || !isNext) {
    return null;
  }
  const inspected = inspect(beginning, { size_bytes: size.bytes, name }, limits);
  return inspected.ok ? null : inspected.problem;
}
