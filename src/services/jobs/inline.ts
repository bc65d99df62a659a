import type { JobInput } from '../../contract/new-job.ts';
import { runInBackground } from '../../providers/background.ts';
import { findAsset, putAsset } from '../../storage/r2/assets.ts';
import type { Spool } from '../../storage/r2/spool.ts';
import { Base64File } from '../../lib/base64.ts';
import { tooLarge } from '../assets/refusals.ts';
import { openSpool, placeSpooled, SpoolWriter, type SpooledFile } from '../assets/spooled.ts';
import type { Caller, ServiceContext } from '../context.ts';
import type { TextSink } from '../../domain/json-extract.ts';
import type { Issue } from '../../domain/problems.ts';

type FileIssue = Pick<Issue, 'code' | 'detail'>;

/** A file from the body of a request, or its issue. */
export type InlineFile = SpooledFile | FileIssue;

export const invalidBase64: FileIssue = {
  code: 'invalid_base64',
  detail: '"data" must be base64 with padding, or a data URL of it.',
};

/** A parsed body, and the files that were extracted from it. */
export type JobBody = { value: unknown; files: InlineFiles };

/**
 * The files of one body. Base64 is decoded while it arrives and is never in memory as a whole. In the parsed body each
 * file is replaced by its SHA-256, so that the body still identifies its files.
 */
export class InlineFiles {
  private readonly context: ServiceContext;
  private readonly spool: Spool;
  private readonly files = new Map<string, InlineFile>();

  /** @param maxBytes the maximum total size of all files, in bytes; null when unknown */
  constructor(context: ServiceContext, caller: Caller, maxBytes: number | null) {
    this.context = context;
    this.spool = openSpool(context, caller, maxBytes);
  }

  /** Returns a sink for the base64 of the next file. Files are written one after another. */
  next(): TextSink {
    const base64 = new Base64File();
    const writer = new SpoolWriter(this.spool);
    const { max_asset_bytes, max_upload_bytes } = this.context.config.limits;
    let issue: FileIssue | null = null;
    const add = async (bytes: Uint8Array | null): Promise<void> => {
      if (bytes === null) {
        issue = invalidBase64;
      } else if (writer.size + bytes.length > max_asset_bytes) {
        issue = { code: 'file_too_large', detail: tooLarge(max_asset_bytes, max_upload_bytes).detail };
      } else if (issue === null) {
        await writer.write(bytes);
      }
    };
    return {
      write: (piece) => (issue === null ? add(base64.push(piece)) : undefined),
      end: async () => {
        if (issue === null) {
          await add(base64.end());
        }
        if (issue === null && writer.size === 0) {
          issue = { code: 'empty_file', detail: 'The file is empty.' };
        }
        if (issue !== null) {
          await writer.discard();
          return this.register(issue.code, issue);
        }
        const file = await writer.finish();
        return this.register(`sha256:${file.sha256}`, file);
      },
    };
  }

  /** Finishes writing, so that the files can be read. */
  close(): Promise<void> {
    return this.spool.close();
  }

  /** The file that this text identifies, or null. */
  find(name: string): InlineFile | null {
    return this.files.get(name) ?? null;
  }

  /** Deletes the files that were not stored as assets. */
  discard(): Promise<void> {
    return this.spool.discard();
  }

  private register(name: string, file: InlineFile): string {
    this.files.set(name, file);
    return name;
  }
}

/**
 * Runs `work` with the files of a body, and then deletes the files that did not become assets, even when the client has
 * disconnected and its request would end.
 */
export function withInlineFiles<T>(
  context: ServiceContext,
  caller: Caller,
  maxBytes: number | null,
  work: (files: InlineFiles) => Promise<T>,
): Promise<T> {
  const files = new InlineFiles(context, caller, maxBytes);
  const done = work(files).finally(() => files.discard());
  runInBackground(done);
  return done;
}

/** Content that must still be stored as an asset. */
export type InlineInput = { content: SpooledFile | Uint8Array; sha256: string; content_type: string };

/** Stores inline files as assets, one after another. Content that is already stored is not written again. */
export async function storeInline(
  context: ServiceContext,
  caller: Caller,
  inline: readonly InlineInput[],
): Promise<void> {
  for (const { content, sha256, content_type } of inline) {
    if ((await findAsset(context.env.BUCKET, caller.account, sha256)) !== null) {
      continue;
    }
    if (content instanceof Uint8Array) {
      await putAsset(context.env.BUCKET, caller.account, { sha256, content_type }, content);
    } else {
      await placeSpooled(context, caller, content, content_type);
    }
  }
}

/** Makes an input whose content must still be stored, under the hash of its bytes. */
export function inlineInput(
  name: string,
  file: { content: SpooledFile | Uint8Array; sha256: string; size_bytes: number },
  content_type: string,
): { input: JobInput; inline: InlineInput } {
  const { content, sha256, size_bytes } = file;
  return { input: { name, sha256, size_bytes, content_type }, inline: { content, sha256, content_type } };
}
