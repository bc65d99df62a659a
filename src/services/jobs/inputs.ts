import type { JobInput } from '../../contract/new-job.ts';
import type { StoredFile } from '../../contract/assets.ts';
import { findAsset } from '../../storage/r2/assets.ts';
import { fetchAsset } from '../assets/fetch.ts';
import { inspectSpooled } from '../assets/spooled.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { pointer, type Issue } from '../../domain/problems.ts';
import { publicUrl } from '../../domain/net/public-url.ts';
import { chainedInput } from './chained.ts';
import { inlineInput, invalidBase64, type InlineFiles, type InlineInput } from './inline.ts';
import type { InputRequest } from './request.ts';

/**
 * The inputs of a checked request: the job's inputs, the contents to store, and the remote files to fetch first.
 * `named`: the JSON pointers where the body names assets by id, by hash.
 */
export type ResolvedInputs = {
  inputs: JobInput[];
  inline: InlineInput[];
  remote: RemoteInput[];
  named: Map<string, string>;
};

/**
 * The time limit for all remote files of one request, including all jobs of a batch. The client waits meanwhile, and
 * most clients time out after 60 to 120 s.
 */
export const FETCH_ALL_TIMEOUT_MS = 90_000;

/** A file on the internet. `at` is its JSON pointer in the body. */
export type RemoteInput = { name: string; url: string; at: string };

/** Checks all inputs except their names. Stores nothing. Reports the issues of all inputs together. */
export async function resolveInputs(
  context: ServiceContext,
  caller: Caller,
  requests: readonly InputRequest[],
  files: InlineFiles,
): Promise<ResolvedInputs & { issues: Issue[] }> {
  const resolved: ResolvedInputs & { issues: Issue[] } = {
    inputs: [],
    inline: [],
    remote: [],
    named: new Map(),
    issues: [],
  };
  // Assets are looked up concurrently; contents are inspected one after another.
  const ids = [...new Set(requests.flatMap(({ asset }) => asset ?? []))];
  const found = new Map(await Promise.all(ids.map(async (id) => [id, await find(context, caller, id)] as const)));
  for (const [at, { name, asset, data, url, output }] of requests.entries()) {
    const path = ['inputs', String(at)];
    if (url !== undefined) {
      const allowed = publicUrl(url, context.config.publicUrl);
      if (allowed.ok) {
        resolved.remote.push({ name, url, at: pointer([...path, 'url']) });
      } else {
        resolved.issues.push({
          pointer: pointer([...path, 'url']),
          code: 'input_url_refused',
          detail: `"url" ${allowed.problem}.`,
        });
      }
      continue;
    }
    const each =
      output !== undefined
        ? await fromOutput(context, caller, name, output, pointer([...path, 'output']))
        : asset === undefined
          ? await fromContent(context, files, { name, data: data ?? '' }, pointer([...path, 'data']))
          : fromAsset(name, found.get(asset) ?? null, pointer([...path, 'asset']));
    if ('issue' in each) {
      resolved.issues.push(each.issue);
      continue;
    }
    resolved.inputs.push(each.input);
    if (asset !== undefined) {
      resolved.named.set(each.input.sha256, pointer([...path, 'asset']));
    }
    if (each.inline !== null) {
      resolved.inline.push(each.inline);
    }
  }
  return resolved;
}

/**
 * Fetches the remote files one after another. Called only when the rest of the request is valid. A file that cannot be
 * fetched is an issue of the request.
 * @param timeout aborts at the time limit of the request
 */
export async function fetchRemote(
  context: ServiceContext,
  caller: Caller,
  remote: readonly RemoteInput[],
  timeout: AbortSignal,
): Promise<{ inputs: JobInput[]; issues: Issue[] }> {
  const inputs: JobInput[] = [];
  const issues: Issue[] = [];
  for (const { name, url, at } of remote) {
    const fetched = await fetchAsset(context, caller, url, name, timeout);
    if (fetched.ok) {
      const { sha256, size_bytes, content_type } = fetched.value;
      inputs.push({ name, sha256, size_bytes, content_type });
    } else {
      issues.push({ pointer: at, ...fetched.problem });
    }
  }
  return { inputs, issues };
}

type Resolved = { input: JobInput; inline: InlineInput | null } | { issue: Issue };

const find = (context: ServiceContext, caller: Caller, asset: string): Promise<StoredFile | null> =>
  findAsset(context.env.BUCKET, caller.account, asset.slice('sha256:'.length));

/** The issue of an asset that does not exist, or no longer exists. */
export const unknownAsset = (at: string): Issue => ({
  pointer: at,
  code: 'unknown_asset',
  detail: 'The account does not have this asset. Upload it with POST /v1/assets first.',
});

function fromAsset(name: string, asset: StoredFile | null, at: string): Resolved {
  if (asset === null) {
    return { issue: unknownAsset(at) };
  }
  const { sha256, size_bytes, content_type } = asset;
  return { input: { name, sha256, size_bytes, content_type }, inline: null };
}

async function fromOutput(
  context: ServiceContext,
  caller: Caller,
  name: string,
  output: string,
  at: string,
): Promise<Resolved> {
  const chained = await chainedInput(context, caller, name, output);
  return (
    chained ?? { issue: { pointer: at, code: 'unknown_output', detail: 'No job of this account has this output.' } }
  );
}

/** `data` identifies a file that was extracted from the body while it was read. */
async function fromContent(
  context: ServiceContext,
  files: InlineFiles,
  { name, data }: { name: string; data: string },
  at: string,
): Promise<Resolved> {
  const file = files.find(data) ?? invalidBase64;
  if ('code' in file) {
    return { issue: { pointer: at, ...file } };
  }
  const inspected = await inspectSpooled(file, name, context.config.limits);
  if (!inspected.ok) {
    return { issue: { pointer: at, ...inspected.problem } };
  }
  const { sha256, size_bytes } = file;
  return inlineInput(name, { content: file, sha256, size_bytes }, inspected.value.content_type);
}
