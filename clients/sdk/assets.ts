import { type Connection, send, sendForJson } from './http.ts';
import type { CallOptions } from './jobs.ts';
import type { Timing } from './timing.ts';
import { type Asset, type AssetPage, asset, assetPage } from './types.ts';
import { uploadInParts } from './uploads.ts';

/** From this size on a broken connection costs enough to be gone on with; one request takes 100 MiB at most. */
const IN_PARTS_FROM_BYTES = 32 * 1024 * 1024;

export interface UploadOptions extends CallOptions {
  /** Media type of the file; a `Blob` brings its own. */
  contentType?: string;
  /** The file's name; it only tells kinds of text apart. */
  name?: string;
  /** Bytes of each part of a large file, 1 MiB to 64 MiB. With it a file of any size goes in parts. */
  partBytes?: number;
  /** Called while a large file is sent, after every part. */
  onProgress?: (sent: number, total: number) => void;
}

/** `/v1/assets` and `/v1/uploads`. Throws `ApiError`, `ConnectionError` or `AnswerError`. */
export class Assets {
  readonly #connection: Connection;
  readonly #timing: Timing;

  constructor(connection: Connection, timing: Timing) {
    this.#connection = connection;
    this.#timing = timing;
  }

  /**
   * Uploads an input file; `asset.id` is what `NewJob.inputs` names. The same bytes answer the same asset. A large file goes in
   * parts, and a call with the same file goes on where an earlier one broke off. For a file on disk give `await openAsBlob(path)`.
   */
  upload(file: Blob | Uint8Array<ArrayBuffer> | ArrayBuffer, options: UploadOptions = {}): Promise<Asset> {
    const { name, partBytes, onProgress, signal } = options;
    const size = file instanceof Blob ? file.size : file.byteLength;
    if (size >= IN_PARTS_FROM_BYTES || partBytes !== undefined) {
      const blob = file instanceof Blob ? file : new Blob([file]);
      return uploadInParts(this.#connection, this.#timing, blob, { name, partBytes, onProgress, signal });
    }
    const own = file instanceof Blob && file.type !== '' ? file.type : 'application/octet-stream';
    return sendForJson(this.#connection, '/v1/assets', asset, {
      method: 'POST',
      headers: { 'content-type': options.contentType ?? own },
      body: file,
      signal,
    });
  }

  get(id: string, options: CallOptions = {}): Promise<Asset> {
    return sendForJson(this.#connection, pathOf(id), asset, { signal: options.signal });
  }

  /** One page of the account's assets, newest first. */
  list(options: CallOptions & { limit?: number; cursor?: string } = {}): Promise<AssetPage> {
    const { limit, cursor, signal } = options;
    return sendForJson(this.#connection, '/v1/assets', assetPage, { query: { limit, cursor }, signal });
  }

  /** Deletes an asset; `ApiError` `asset_in_use` while a job that is not over reads it. */
  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await send(this.#connection, pathOf(id), { method: 'DELETE', signal: options.signal });
  }
}

const pathOf = (id: string): string => `/v1/assets/${encodeURIComponent(id)}`;
