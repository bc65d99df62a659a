import { UNKNOWN_TYPE } from '../../contract/media-type.ts';
import type { JobView } from '../../contract/job.ts';
import { presigner } from '../../storage/r2/presign.ts';
import type { Core } from '../context.ts';
import { presentationOf } from '../../domain/files/presentation.ts';

/**
 * Links are signed at the full hour and work for two: so all answers of an hour have the same link (a browser's cache, and an ETag,
 * stay good), and every link works for an hour at least after it was answered. Links that die within the hour are what users of
 * other services complain of (reference/http-api.md section 12).
 */
export const WINDOW_MS = 3_600_000;
const LIFE_MS = 2 * WINDOW_MS;

/** Links of a job's files by their names, straight to storage; a text that has no file is not among them. */
export type SignedUrls = ReadonlyMap<string, { url: string; expires_at: number }>;

/** Which links all answers of now have that are good until `until` (ms; null: as long as any): the hour's, by its number, or those that end then, by the second. */
export const linksNow = (now: number, until: number | null): number => {
  const hour = Math.floor(now / WINDOW_MS);
  return until === null || until >= hour * WINDOW_MS + LIFE_MS ? hour : Math.ceil(until / 1000);
};

/** `linksNow` of a job; null for a job without files, whose answers do not change with their links. */
export const linksOf = (job: JobView, now: number, until: number | null): number | null =>
  job.outputs.some(({ key }) => key !== null) ? linksNow(now, until) : null;

/**
 * Signs a link for each file of a job, good until `until` (ms, null: no such bound) at the latest: the end of the read token that asks.
 * No link outlives its job. What may not be shown in place is answered as a download of octets, by the link itself.
 */
export async function signOutputs(core: Core, job: JobView, until: number | null): Promise<SignedUrls> {
  const at = Math.floor(core.clock() / WINDOW_MS) * WINDOW_MS;
  const expires_at = Math.min(at + LIFE_MS, job.expires_at, until ?? Infinity);
  const sign = presigner(core.config.s3);
  const links = await Promise.all(
    job.outputs.map(async (output) => {
      if (output.key === null) {
        return null;
      }
      const { type, inline, disposition } = presentationOf(output);
      const answered = { type: inline ? type : UNKNOWN_TYPE, disposition };
      const url = await sign.download(output.key, (expires_at - at) / 1000, at, answered);
      return [output.name, { url, expires_at }] as const;
    }),
  );
  return new Map(links.filter((link) => link !== null));
}
