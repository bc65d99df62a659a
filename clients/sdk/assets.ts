import { type Connection, sendForJson } from './http.ts';
import type { CallOptions } from './jobs.ts';
import { type Asset, asset } from './types.ts';

export interface UploadOptions extends CallOptions {
  /** Media type of the file; a `Blob` brings its own. */
  contentType?: string;
}

/** `/v1/assets`. Throws `ApiError`, `ConnectionError` or `AnswerError`. */
export class Assets {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Uploads an input file; `asset.id` is what `NewJob.inputs` names. The same bytes answer the same asset. */
  upload(file: Blob | Uint8Array<ArrayBuffer> | ArrayBuffer, options: UploadOptions = {}): Promise<Asset> {
    const own = file instanceof Blob && file.type !== '' ? file.type : 'application/octet-stream';
    return sendForJson(this.#connection, '/v1/assets', asset, {
      method: 'POST',
      headers: { 'content-type': options.contentType ?? own },
      body: file,
      signal: options.signal,
    });
  }
}
