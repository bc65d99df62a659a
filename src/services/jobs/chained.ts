import { mediaTypeOf } from '../../contract/media-type.ts';
import type { JobInput } from '../../contract/new-job.ts';
import type { Caller, Core } from '../context.ts';
import { getJob } from './get.ts';
import { inlineInput, type InlineInput } from './inline.ts';

/** `job:{id}/outputs/{name}`: a result of one of the account's jobs as an input of another, without a way through the client. */
const REFERENCE = /^job:([0-9a-f-]{36})\/outputs\/(.{1,255})$/su;

/** Whether text has the form of a reference; whether there is such an output is another question. */
export const isOutputReference = (text: string): boolean => REFERENCE.test(text);

/** Text that has no place in R2 yet and must be stored before the job runs. */
type Chained = { input: JobInput; inline: InlineInput | null };

/**
 * The input an output becomes, or null when the account has no such output (yet). A file stays where it is: the job reads it from
 * the other job's place in R2, so erasing that job first makes this one fail. Short text, which has no place in R2, becomes an asset.
 */
export async function chainedInput(
  core: Core,
  caller: Caller,
  name: string,
  reference: string,
): Promise<Chained | null> {
  const [, job = '', outputName = ''] = REFERENCE.exec(reference) ?? [];
  const view = await getJob(core, caller, job);
  const output = view.ok ? view.value.outputs.find((each) => each.name === outputName) : undefined;
  if (output === undefined) {
    return null;
  }
  const { sha256, size_bytes, key, text = '' } = output;
  // Jobs of an older gateway hold whatever their worker said.
  const content_type = mediaTypeOf(output.content_type);
  return key === null
    ? fromText(name, text, content_type)
    : { input: { name, sha256, size_bytes, content_type, key }, inline: null };
}

/** What a worker said of its text is not believed: the file is stored under the hash that its bytes have. */
async function fromText(name: string, text: string, content_type: string): Promise<Chained> {
  const content = new TextEncoder().encode(text);
  const sha256 = new Uint8Array(await crypto.subtle.digest('SHA-256', content)).toHex();
  return inlineInput(name, { content, sha256, size_bytes: content.length }, content_type);
}
