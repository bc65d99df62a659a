import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, isAbsolute, join, relative } from 'node:path';
import type { ComfyEdge, Job, Output } from '../../clients/sdk/index.ts';
import { type Outcome, done, failure } from '../stack/outcome.ts';

/** First bytes that tell a real file of its type (PNG specification; ISO 14496-12: `ftyp` after the size of the first box). */
const MAGIC: Record<string, { at: number; bytes: string }> = {
  'image/png': { at: 0, bytes: '\u0089PNG\r\n\u001a\n' },
  'video/mp4': { at: 4, bytes: 'ftyp' },
};

/** A file on disk: where, and how many bytes. */
export interface WrittenFile {
  path: string;
  bytes: number;
}

/** Writes a job's outputs below `folder` and checks each against the size, hash and type the API promised. */
export async function writeOutputs(
  edge: ComfyEdge,
  job: Job,
  folder: string,
  signal: AbortSignal,
): Promise<Outcome<WrittenFile[]>> {
  const written: WrittenFile[] = [];
  for (const output of job.outputs) {
    const path = join(folder, output.name);
    if (!isBelow(folder, path)) {
      return failure(`Output ${output.name} would be written outside ${folder}.`);
    }
    const response = await edge.jobs.download(job.id, output.name, { signal });
    const bytes = Buffer.from(await response.arrayBuffer());
    const wrong = whatIsWrong(output, bytes);
    if (wrong !== null) {
      return failure(`Output ${output.name} is not what the API says: ${wrong}.`);
    }
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
    written.push({ path, bytes: bytes.length });
  }
  return done(written);
}

function whatIsWrong(output: Output, bytes: Buffer): string | null {
  if (bytes.length !== output.size_bytes) {
    return `${bytes.length} bytes, not ${output.size_bytes}`;
  }
  const hash = createHash('sha256').update(bytes).digest('hex');
  if (hash !== output.sha256) {
    return `SHA-256 ${hash}, not ${output.sha256}`;
  }
  const magic = MAGIC[output.content_type];
  if (magic !== undefined && !bytes.subarray(magic.at).toString('latin1').startsWith(magic.bytes)) {
    return `no ${output.content_type}`;
  }
  return bytes.length === 0 ? 'empty' : null;
}

function isBelow(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && !way.startsWith('..') && !isAbsolute(way);
}
