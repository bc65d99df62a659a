/**
 * Messages between the services and the Account object about files. Times are ms since the epoch, sizes are bytes,
 * hashes are lower-case hex.
 */

/** An asset: a file of an account, named by the SHA-256 of its content. */
export type Asset = {
  sha256: string;
  size_bytes: number;
  content_type: string;
  created_at: number;
  expires_at: number;
};

/** A file as R2 has it, without the account's record of it. */
export type StoredFile = Omit<Asset, 'expires_at'>;

/**
 * An asset that a job reads. `attached`: its content came with the request and is stored after admission. Any other
 * asset must exist at admission; a pending deletion refuses the job.
 */
export type InputUse = { sha256: string; size_bytes: number; content_type: string; attached: boolean };

/** An upload of a large file in parts (docs/decisions/0042). `stored`: its asset exists. */
export type Upload = {
  id: string;
  status: 'open' | 'stored';
  /** The client's hash of the whole file. R2 checks it. */
  sha256: string;
  size_bytes: number;
  part_bytes: number;
  /** The file's name. It only serves to tell kinds of text apart. */
  name: string | null;
  created_at: number;
  expires_at: number;
};

/** A request for an upload. */
export type NewUpload = Pick<Upload, 'id' | 'sha256' | 'size_bytes' | 'part_bytes' | 'name'>;

/** How long the URL of a part works, in seconds. A part has at most 64 MiB: an hour is enough at 20 kB/s. */
export const PART_URL_LIFE_S = 3_600;
