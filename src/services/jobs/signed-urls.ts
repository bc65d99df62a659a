import { UNKNOWN_TYPE } from '../../contract/media-type.ts';
import type { JobView } from '../../contract/job.ts';
import { presigner } from '../../storage/r2/presign.ts';
import type { ServiceContext } from '../context.ts';
import { presentationOf } from '../../domain/files/presentation.ts';

/**
 * Links are signed at the full hour and are valid for two hours. So all responses of one hour contain the same link,
 * which keeps browser caches and ETags valid, and every link works for at least one hour. Users of other services
 * complain about links that expire sooner (reference/http-api.md section 12).
 */
export const WINDOW_MS = 3_600_000;
const VALID_MS = 2 * WINDOW_MS;

/** Links to a job's files in storage, by name. Texts without a file have no link. */
export type SignedUrls = ReadonlyMap<string, { url: string; expires_at: number }>;

/**
 * Identifies the links of a response: by the hour, or, when they end at `until` (ms; null: no bound), by that second.
 */
export const linksNow = (now: number, until: number | null): number => {
  const hour = Math.floor(now / WINDOW_MS);
  return until === null || until >= hour * WINDOW_MS + VALID_MS ? hour : Math.ceil(until / 1000);
};

/** `linksNow` for a job; null for a job without files, whose responses do not depend on links. */
export const linksOf = (job: JobView, now: number, until: number | null): number | null =>
  job.outputs.some(({ key }) => key !== null) ? linksNow(now, until) : null;

/**
 * Signs a link for each file of a job, valid until `until` at the latest (ms; null: no bound), which is the expiry of
 * the read token. No link outlives its job. Links to types that a browser must not display make it download the file.
 */
export async function signOutputs(context: ServiceContext, job: JobView, until: number | null): Promise<SignedUrls> {
  const at = Math.floor(context.clock() / WINDOW_MS) * WINDOW_MS;
  const expires_at = Math.min(at + VALID_MS, job.expires_at, until ?? Infinity);
  const sign = presigner(context.config.s3);
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
