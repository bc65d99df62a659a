import { findAsset, openSpool, putAsset, SPOOL_PART_BYTES, type Spool } from '../../storage/r2/assets.ts';
import type { Caller, Core } from '../context.ts';
import type { CoreProblem } from '../problems.ts';
import { fail, ok, type Result } from '../result.ts';
import { keepAsset, type AssetAnswer } from './keep.ts';
import { inspect, inspectStored, INSPECTED_BYTES } from './inspect.ts';
import { tooLarge } from './refusals.ts';

/**
 * A file as it arrives. `name` (from a form) only helps to tell kinds of text apart; `statedSize` only lets a large file of no
 * use be refused before all of it is here. `forJob`: it comes with a job, so it goes with the jobs that use it.
 */
export type IncomingFile = {
  /** Each is valid until the next is asked for. */
  chunks: AsyncIterable<Uint8Array>;
  name?: string;
  statedSize?: number;
  forJob?: boolean;
};

/**
 * Stores a file in the caller's account under the SHA-256 of its content, which is computed here. Memory stays at one part:
 * a file of one part or less is put at once, a larger one is spooled and then moved (docs/decisions/0010).
 */
export async function createAsset(
  core: Core,
  caller: Caller,
  file: IncomingFile,
): Promise<Result<AssetAnswer, CoreProblem>> {
  const bucket = core.env.BUCKET;
  const { limits } = core.config;
  const limit = limits.max_asset_bytes;
  const hash = new crypto.DigestStream('SHA-256');
  // The digest is asked for only when all went well; without this a discarded one would be an unhandled rejection.
  hash.digest.catch(() => {});
  const hashing = hash.getWriter();
  let spool: Spool | null = null;
  let size = 0;
  let head = new Uint8Array();

  const refuse = async (problem: CoreProblem): Promise<Result<never, CoreProblem>> => {
    await hashing.abort();
    await spool?.discard();
    return fail(problem);
  };

  const parts = inParts(file.chunks, SPOOL_PART_BYTES);
  for (;;) {
    const next = await parts.next();
    if (!next.ok) {
      return refuse({ code: 'incomplete_body', detail: 'the body ended, or stood still, before it was complete' });
    }
    const part = next.value;
    if (size === 0) {
      head = part.bytes.slice(0, INSPECTED_BYTES);
    }
    size += part.bytes.length;
    if (size > limit) {
      await parts.stop();
      return refuse(tooLarge(limit, core.config.limits.max_upload_bytes));
    }
    await hashing.write(part.bytes);
    if (!part.last) {
      const { statedSize = 0 } = file;
      const early =
        spool === null && statedSize > 0 ? inspect(head, { size_bytes: statedSize, name: file.name }, limits) : null;
      if (early?.ok === false) {
        await parts.stop();
        return refuse(early.problem);
      }
      spool ??= await openSpool(bucket, caller.account, core.newId());
      await spool.part(part.bytes);
      continue;
    }
    if (size === 0) {
      return refuse({ code: 'empty_file', detail: 'the file is empty' });
    }
    const described = { size_bytes: size, name: file.name };
    if (spool !== null && part.bytes.length > 0) {
      await spool.part(part.bytes);
    }
    const inspected =
      spool === null
        ? inspect(part.bytes, described, limits)
        : await inspectStored(head, described, limits, spool.read.bind(spool));
    if (!inspected.ok) {
      return refuse(inspected.problem);
    }
    const { content_type } = inspected.value;
    await hashing.close();
    const sha256 = new Uint8Array(await hash.digest).toHex();
    const uploaded = file.forJob !== true;
    if (spool !== null) {
      const spooled = spool;
      try {
        const asset = { sha256, content_type, size_bytes: size };
        return await keepAsset(core, caller, uploaded, async () => ok(await spooled.place(asset)));
      } finally {
        await spooled.discard();
      }
    }
    return keepAsset(core, caller, uploaded, async () => {
      const known = await findAsset(bucket, caller.account, sha256);
      return known === null
        ? ok(await putAsset(bucket, caller.account, { sha256, content_type }, part.bytes))
        : ok({ asset: known, created: false });
    });
  }
}

type Part = { bytes: Uint8Array; last: boolean };

/**
 * A file cut into parts of exactly `size` bytes; the last may be shorter or empty. One that breaks off is a value: the client's
 * connection is not our failure.
 */
function inParts(file: AsyncIterable<Uint8Array>, size: number) {
  const iterator = file[Symbol.asyncIterator]();
  let rest: Uint8Array = new Uint8Array();
  return {
    async next(): Promise<Result<Part, 'broken'>> {
      const chunks = [rest];
      let have = rest.length;
      while (have < size) {
        let chunk: IteratorResult<Uint8Array>;
        try {
          chunk = await iterator.next();
        } catch {
          return fail('broken');
        }
        if (chunk.done === true) {
          rest = new Uint8Array();
          return ok({ bytes: join(chunks, have), last: true });
        }
        chunks.push(chunk.value.slice());
        have += chunk.value.length;
      }
      const all = join(chunks, have);
      rest = all.slice(size);
      return ok({ bytes: all.subarray(0, size), last: false });
    },
    stop: async (): Promise<void> => void (await iterator.return?.()),
  };
}

function join(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}
