import type { JobInput } from '../../contract/new-job.ts';
import { findAsset, putAsset, type StoredAsset } from '../../storage/r2/assets.ts';
import { decodeBase64 } from '../assets/base64.ts';
import { HEAD_BYTES, sniff } from '../assets/sniff.ts';
import { tooLarge, unsupportedMedia } from '../assets/create.ts';
import type { Caller, Core } from '../context.ts';
import { pointer, quote, type Fault, type FaultCode } from '../problems.ts';
import { fileNameFault, type InputRequest } from './request.ts';

/** The inputs of a request that was checked: what the job will carry, and which contents still have to be stored. */
export type ResolvedInputs = { inputs: JobInput[]; inline: InlineInput[] };

/** Content that came in the body. Kept as text until it is stored, so that only one file is in memory twice at a time. */
export type InlineInput = { data: string; sha256: string; content_type: string };

/** Checks every input; stores nothing. Faults of all inputs are reported together. */
export async function resolveInputs(
  core: Core,
  caller: Caller,
  requests: readonly InputRequest[],
): Promise<ResolvedInputs & { faults: Fault[] }> {
  const resolved: ResolvedInputs & { faults: Fault[] } = { inputs: [], inline: [], faults: nameFaults(requests) };
  // Assets are looked up side by side; contents are decoded one after another, to hold one in memory at a time.
  const ids = [...new Set(requests.flatMap(({ asset }) => asset ?? []))];
  const found = new Map(await Promise.all(ids.map(async (id) => [id, await find(core, caller, id)] as const)));
  for (const [at, { name, asset, data }] of requests.entries()) {
    const path = ['inputs', String(at)];
    const each =
      asset === undefined
        ? await fromContent(core, name, data ?? '', pointer([...path, 'data']))
        : fromAsset(name, found.get(asset) ?? null, pointer([...path, 'asset']));
    if ('fault' in each) {
      resolved.faults.push(each.fault);
      continue;
    }
    resolved.inputs.push(each.input);
    if (each.inline !== null) {
      resolved.inline.push(each.inline);
    }
  }
  return resolved;
}

/** Stores what came inline, one file after another. Content that is there already is not written again. */
export async function storeInline(core: Core, caller: Caller, inline: readonly InlineInput[]): Promise<void> {
  for (const { data, sha256, content_type } of inline) {
    if ((await findAsset(core.env.BUCKET, caller.account, sha256)) !== null) {
      continue;
    }
    const bytes = decodeBase64(data);
    if (bytes === null) {
      throw new Error('an input that was decoded once can no longer be decoded');
    }
    await putAsset(core.env.BUCKET, caller.account, { sha256, content_type }, bytes);
  }
}

function nameFaults(requests: readonly InputRequest[]): Fault[] {
  const taken = new Set<string>();
  return requests.flatMap(({ name }, at): Fault[] => {
    const where = pointer(['inputs', at, 'name']);
    const detail = fileNameFault(name);
    if (detail !== null) {
      return [{ pointer: where, code: 'invalid_name', detail }];
    }
    if (taken.has(name)) {
      return [{ pointer: where, code: 'duplicate_name', detail: `another input has the name ${quote(name)} already` }];
    }
    taken.add(name);
    return [];
  });
}

type Resolved = { input: JobInput; inline: InlineInput | null } | { fault: Fault };

const find = (core: Core, caller: Caller, asset: string): Promise<StoredAsset | null> =>
  findAsset(core.env.BUCKET, caller.account, asset.slice('sha256:'.length));

function fromAsset(name: string, asset: StoredAsset | null, at: string): Resolved {
  if (asset === null) {
    const detail = 'no such asset; upload it with POST /v1/assets first';
    return { fault: { pointer: at, code: 'unknown_asset', detail } };
  }
  const { sha256, size_bytes, content_type } = asset;
  return { input: { name, sha256, size_bytes, content_type }, inline: null };
}

async function fromContent(core: Core, name: string, data: string, at: string): Promise<Resolved> {
  const fault = (code: FaultCode, detail: string): Resolved => ({ fault: { pointer: at, code, detail } });
  const bytes = decodeBase64(data);
  if (bytes === null) {
    return fault('invalid_base64', 'data must be base64 with padding, or a data URL of it');
  }
  if (bytes.length === 0) {
    return fault('empty_file', 'the file is empty');
  }
  const { max_asset_bytes } = core.config.limits;
  if (bytes.length > max_asset_bytes) {
    return fault('file_too_large', tooLarge(max_asset_bytes).detail);
  }
  const content_type = sniff(bytes.subarray(0, HEAD_BYTES), bytes.length, name);
  if (content_type === null) {
    return fault('unsupported_media', unsupportedMedia.detail);
  }
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();
  return {
    input: { name, sha256, size_bytes: bytes.length, content_type },
    inline: { data, sha256, content_type },
  };
}
