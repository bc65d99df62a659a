/** What the core and the Account object say to each other about files. Times in ms since the epoch, sizes in bytes, hashes lower-case hex. */

/** An asset: a file of an account, named by the SHA-256 of its content. */
export type Asset = {
  sha256: string;
  size_bytes: number;
  content_type: string;
  created_at: number;
  expires_at: number;
};

/** A file as R2 has it, without what the account knows of it. */
export type StoredFile = Omit<Asset, 'expires_at'>;

/**
 * An asset that a job reads. `brought`: its content came with the request and is stored after admission, so it need not exist
 * before; else it must, and a deletion that is under way refuses the job.
 */
export type InputUse = { sha256: string; size_bytes: number; content_type: string; brought: boolean };

/** A large file on its way in, part by part (docs/decisions/0042). `stored`: its asset exists. */
export type Upload = {
  id: string;
  status: 'open' | 'stored';
  /** What the client says the whole file hashes to; R2 checks it. */
  sha256: string;
  size_bytes: number;
  part_bytes: number;
  /** The file's name, which only tells kinds of text apart. */
  name: string | null;
  created_at: number;
  expires_at: number;
};

/** An upload that a client asks for. */
export type NewUpload = Pick<Upload, 'id' | 'sha256' | 'size_bytes' | 'part_bytes' | 'name'>;

/** How long a part's URL works, in seconds. A part has 64 MiB at most: an hour is enough at 20 kB/s. */
export const PART_URL_LIFE_S = 3_600;
