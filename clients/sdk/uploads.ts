import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { ConnectionError, ApiError } from './errors.ts';
import { type Connection, sendForJson } from './http.ts';
import type { Timing } from './timing.ts';
import { type Asset, type Upload, type UploadPart, asset, upload } from './types.ts';

/** Bytes read at a time while hashing; also the part of a file that is in memory. */
const HASH_PIECE_BYTES = 8 * 1024 * 1024;
/** First wait after something went wrong; doubles with every round in which nothing arrived. */
const AGAIN_MS = 500;
/** Rounds without a single new part after which the upload is given up. */
const MAX_IDLE_ROUNDS = 6;

export interface PartsOptions {
  /** The file's name; it only tells kinds of text apart. */
  name?: string | undefined;
  /** Bytes of each part, 1 MiB to 64 MiB; the gateway's default is 16 MiB. */
  partBytes?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called after every part that has arrived. */
  onProgress?: ((sent: number, total: number) => void) | undefined;
}

/**
 * Uploads a file part by part, straight to the gateway's storage, and goes on where it was after anything that breaks. Calling it
 * again with the same file, in another process or on another day, goes on too: the gateway knows what has arrived.
 */
export async function uploadInParts(
  connection: Connection,
  timing: Timing,
  file: Blob,
  options: PartsOptions,
): Promise<Asset> {
  const { name, partBytes, signal, onProgress } = options;
  const announced = JSON.stringify({
    size_bytes: file.size,
    sha256: await hashOf(file, signal),
    ...(name === undefined ? {} : { name }),
    ...(partBytes === undefined ? {} : { part_bytes: partBytes }),
  });
  const headers = { 'content-type': 'application/json' };
  const open = (): Promise<Upload> =>
    sendForJson(connection, '/v1/uploads', upload, { method: 'POST', headers, body: announced, signal });
  let received = -1;
  for (let idle = 0; ;) {
    try {
      const now = await open();
      onProgress?.(now.received_bytes, file.size);
      idle = now.received_bytes > received ? 0 : idle + 1;
      received = now.received_bytes;
      if (now.asset !== null) {
        return now.asset;
      }
      for (const part of now.missing) {
        await sendPart(connection, file, part, signal);
        received += part.size_bytes;
        onProgress?.(received, file.size);
      }
      if (now.missing_parts === now.missing.length) {
        const path = `/v1/uploads/${encodeURIComponent(now.id)}/complete`;
        return await sendForJson(connection, path, asset, { method: 'POST', signal });
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!mayPass(error) || idle >= MAX_IDLE_ROUNDS) {
        throw error;
      }
      await timing.delay(AGAIN_MS * 2 ** idle * (1 + timing.random()), signal);
      idle += 1;
    }
  }
}

/** Breaks, faults of the platform, and parts that turned out not to be there; a refusal of the file itself stays one. */
const mayPass = (error: unknown): boolean =>
  error instanceof ConnectionError ||
  (error instanceof ApiError && (error.status >= 500 || error.status === 429 || error.code === 'upload_incomplete'));

/** A part goes to storage, by a URL that says all: no key is sent there. Whatever storage answers but success may pass. */
async function sendPart(connection: Connection, file: Blob, part: UploadPart, signal?: AbortSignal): Promise<void> {
  const body = file.slice(part.offset, part.offset + part.size_bytes);
  let response: Response;
  try {
    response = await connection.fetch(part.url, { method: 'PUT', body, ...(signal === undefined ? {} : { signal }) });
    await response.body?.cancel();
  } catch (error) {
    signal?.throwIfAborted();
    throw new ConnectionError(`part ${part.number} did not arrive`, { cause: error });
  }
  if (!response.ok) {
    throw new ConnectionError(`storage answered ${response.status} to part ${part.number}`);
  }
}

/** By a library: `crypto.subtle.digest` of the platform needs the whole file in memory. */
async function hashOf(file: Blob, signal: AbortSignal | undefined): Promise<string> {
  const hash = sha256.create();
  for (let at = 0; at < file.size; at += HASH_PIECE_BYTES) {
    signal?.throwIfAborted();
    hash.update(new Uint8Array(await file.slice(at, at + HASH_PIECE_BYTES).arrayBuffer()));
  }
  return bytesToHex(hash.digest());
}
