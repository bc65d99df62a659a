/**
 * Builds the R2 keys. docs/reference/storage.md lists every prefix. Keys are built only here, so that an account can
 * never name an object of another account.
 */

export const ASSETS_PREFIX = 'assets/';
export const UPLOADS_PREFIX = 'uploads/';

export const assetKey = (account: string, sha256: string): string => `assets/${account}/${sha256}`;

/** The account and hash of an asset's key; null for any other key. */
export function assetOfKey(key: string): { account: string; sha256: string } | null {
  const [, account, sha256] = /^assets\/([^/]+)\/([0-9a-f]{64})$/.exec(key) ?? [];
  return account === undefined || sha256 === undefined ? null : { account, sha256 };
}

/**
 * The prefix of all outputs of a job. Keys also contain the attempt, so that a stale worker cannot overwrite files of a
 * newer attempt.
 */
export const outputPrefix = (account: string, job: string): string => `outputs/${account}/${job}/`;

/**
 * The key of an output: its name, encoded with unreserved characters only. HTTP clients percent-encode other characters
 * differently, which would invalidate the signature of a presigned URL. Keys stay below R2's 1,024 bytes, because names
 * have at most 255.
 */
export const outputKey = (account: string, job: string, attempt: number, name: string): string =>
  `${outputPrefix(account, job)}${attempt}/${name.split('/').map(unreserved).join('/')}`;

/** The longest key that R2 accepts, in bytes (reference/cloudflare.md section 5). */
const MAX_KEY_BYTES = 1024;

/** Whether a received key could come from `outputKey` for this attempt. R2 fails for some other keys. */
export function isOutputKey(account: string, job: string, attempt: number, key: string): boolean {
  const prefix = `${outputPrefix(account, job)}${attempt}/`;
  return (
    key.length <= MAX_KEY_BYTES && key.startsWith(prefix) && /^[\w.~-]+(?:\/[\w.~-]+)*$/.test(key.slice(prefix.length))
  );
}

const unreserved = (segment: string): string =>
  encodeURIComponent(segment)
    .replaceAll(/[!'()*~]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%', '~');

export const catalogKey = (endpoint: string): string => `catalogs/${endpoint}.json`;

/**
 * The prefix of incoming data in numbered objects: the parts of a resumable upload, and the spool of a request before
 * its hash is known. A spool is deleted within the request, and the sweep removes it after a crash.
 */
export const uploadPrefix = (account: string, upload: string): string => `uploads/${account}/${upload}/`;

/** Numbers begin at 1 and have five digits, so that R2 lists the parts in order. */
export const uploadPartKey = (account: string, upload: string, number: number): string =>
  `${uploadPrefix(account, upload)}${String(number).padStart(5, '0')}`;
