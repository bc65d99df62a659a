import type { JobInput } from '../../contract/new-job.ts';
import { findAsset, putAsset } from '../../storage/r2/assets.ts';
import { decodeBase64 } from '../assets/base64.ts';
import { HEAD_BYTES, sniff } from '../assets/sniff.ts';
import { tooLarge, unsupportedMedia } from '../assets/create.ts';
import type { Caller, Core } from '../context.ts';
import { pointer, quote, type Fault } from '../problems.ts';
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
  const { max_inputs } = core.config.limits;
  if (requests.length > max_inputs) {
    const detail = `a job may have ${max_inputs} inputs`;
    return { inputs: [], inline: [], faults: [{ pointer: '#/inputs', code: 'out_of_range', detail }] };
  }
  const resolved: ResolvedInputs & { faults: Fault[] } = { inputs: [], inline: [], faults: nameFaults(requests) };
  const checked = await Promise.all(
    requests.map((request, at) => resolve(core, caller, request, ['inputs', String(at)])),
  );
  for (const each of checked) {
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

async function resolve(core: Core, caller: Caller, request: InputRequest, path: readonly string[]): Promise<Resolved> {
  const { name, asset, data } = request;
  if (asset !== undefined) {
    const sha256 = asset.slice('sha256:'.length);
    const found = await findAsset(core.env.BUCKET, caller.account, sha256);
    if (found === null) {
      const detail = 'no such asset; upload it with POST /v1/assets first';
      return { fault: { pointer: pointer([...path, 'asset']), code: 'unknown_asset', detail } };
    }
    return { input: { name, sha256, size_bytes: found.size_bytes, content_type: found.content_type }, inline: null };
  }
  const at = pointer([...path, 'data']);
  const bytes = decodeBase64(data ?? '');
  if (bytes === null) {
    const detail = 'data must be base64 with padding, or a data URL of it';
    return { fault: { pointer: at, code: 'invalid_base64', detail } };
  }
  if (bytes.length === 0) {
    return { fault: { pointer: at, code: 'empty_file', detail: 'the file is empty' } };
  }
  const { max_asset_bytes } = core.config.limits;
  if (bytes.length > max_asset_bytes) {
    return { fault: { pointer: at, code: 'file_too_large', detail: tooLarge(max_asset_bytes).detail } };
  }
  const content_type = sniff(bytes.subarray(0, HEAD_BYTES), bytes.length, name);
  if (content_type === null) {
    return { fault: { pointer: at, code: 'unsupported_media', detail: unsupportedMedia.detail } };
  }
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)).toHex();
  return {
    input: { name, sha256, size_bytes: bytes.length, content_type },
    inline: { data: data ?? '', sha256, content_type },
  };
}
