import { mediaTypeOf } from '../../contract/media-type.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { getJob } from './get.ts';
import { inlineInput, type InlineInput } from './inline.ts';
import { sha256Hex } from '../../lib/hash.ts';

/**
 * `job:{id}/outputs/{name}`: an output of one job of the account as an input of another, without a download by the
 * client.
 */
const REFERENCE = /^job:([0-9a-f-]{36})\/outputs\/(.{1,255})$/su;

/** Whether a text has the form of a reference. The output may not exist. */
export const isOutputReference = (text: string): boolean => REFERENCE.test(text);

/** `inline`: a short text that is not in R2 yet and must be stored before the job runs. */
type Chained = { input: JobInput; inline: InlineInput | null };

/**
 * Returns the input for an output, or null when the account has no such output (yet). A file is not copied: the job
 * reads it from the other job's R2 prefix, and fails when that job is erased first. Short text, which is not in R2,
 * becomes an asset.
 */
export async function chainedInput(
  context: ServiceContext,
  caller: Caller,
  name: string,
  reference: string,
): Promise<Chained | null> {
  const [, job = '', outputName = ''] = REFERENCE.exec(reference) ?? [];
  const view = await getJob(context, caller, job);
  const output = view.ok ? view.value.outputs.find((each) => each.name === outputName) : undefined;
  if (output === undefined) {
    return null;
  }
  const { sha256, size_bytes, key, text = '' } = output;
  // Jobs of an older gateway may contain names that a worker sent unchecked.
  const content_type = mediaTypeOf(output.content_type);
  return key === null
    ? fromText(name, text, content_type)
    : { input: { name, sha256, size_bytes, content_type, key }, inline: null };
}

/** Stores a text under the hash of its bytes, computed here. The hash that the worker reported is not trusted. */
async function fromText(name: string, text: string, content_type: string): Promise<Chained> {
  const content = new TextEncoder().encode(text);
  const sha256 = await sha256Hex(content);
  return inlineInput(name, { content, sha256, size_bytes: content.length }, content_type);
}
