import type { Output } from '../../contract/job.ts';
import { outputPrefix } from './keys.ts';

/** Concurrent head requests. More would only wait for a connection (reference/cloudflare.md section 4). */
const HEADS_AT_ONCE = 6;

/** Returns the names of outputs that are missing in R2 or have another size. Inline text is never missing. */
export async function missingOutputs(bucket: R2Bucket, outputs: readonly Output[]): Promise<string[]> {
  const stored = outputs.filter((output) => output.key !== null);
  const missing: string[] = [];
  for (let start = 0; start < stored.length; start += HEADS_AT_ONCE) {
    const found = await Promise.all(
      stored.slice(start, start + HEADS_AT_ONCE).map(async (output) => {
        const object = output.key === null ? null : await bucket.head(output.key);
        return object?.size === output.size_bytes ? null : output.name;
      }),
    );
    missing.push(...found.filter((name) => name !== null));
  }
  return missing;
}

/** Deletes the files of all attempts of a job. */
export async function deleteOutputs(bucket: R2Bucket, account: string, job: string): Promise<void> {
  const prefix = outputPrefix(account, job);
  for (;;) {
    const page = await bucket.list({ prefix });
    if (page.objects.length > 0) {
      await bucket.delete(page.objects.map((object) => object.key));
    }
    if (!page.truncated) {
      return;
    }
  }
}
