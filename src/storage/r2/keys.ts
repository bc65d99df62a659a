/**
 * Where things are in R2. Every prefix is listed in docs/reference/storage.md.
 * Keys are built here and nowhere else, so that an account can never name another account's object.
 */

export const ASSETS_PREFIX = 'assets/';
export const UPLOADS_PREFIX = 'uploads/';

export const assetKey = (account: string, sha256: string): string => `assets/${account}/${sha256}`;

/** Whose asset a key names, and which; null for a key of another form. */
export function assetOfKey(key: string): { account: string; sha256: string } | null {
  const [, account, sha256] = /^assets\/([^/]+)\/([0-9a-f]{64})$/.exec(key) ?? [];
  return account === undefined || sha256 === undefined ? null : { account, sha256 };
}

/** All outputs of a job share this prefix; the attempt keeps a stale worker from overwriting a newer one's files. */
export const outputPrefix = (account: string, job: string): string => `outputs/${account}/${job}/`;

/**
 * An output's key is its name in unreserved characters only. HTTP clients disagree about which others to percent-encode, and a
 * presigned URL that one of them rewrites no longer matches its signature. Stays below R2's 1,024 bytes, as names are at most 255.
 */
export const outputKey = (account: string, job: string, attempt: number, name: string): string =>
  `${outputPrefix(account, job)}${attempt}/${name.split('/').map(unreserved).join('/')}`;

/** Longest key that R2 takes, in bytes (reference/cloudflare.md section 5). */
const MAX_KEY_BYTES = 1024;

/** Whether a key from outside is one that `outputKey` could have made for this attempt; R2 fails for some others. */
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
 * What is on its way in, in numbered objects: the parts of a resumable upload until all of them are there, and what comes with one request
 * before its hash is known. The latter is gone within the request; the sweep clears what a crash leaves.
 */
export const uploadPrefix = (account: string, upload: string): string => `uploads/${account}/${upload}/`;

/** Numbers begin at 1 and have five digits, so that parts are listed in their order. */
export const uploadPartKey = (account: string, upload: string, number: number): string =>
  `${uploadPrefix(account, upload)}${String(number).padStart(5, '0')}`;
