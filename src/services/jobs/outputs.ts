import type { Output } from '../../contract/job.ts';
import { headOutput, openOutput, type ByteRange, type OutputHead } from '../../storage/r2/outputs.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { notFound, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { getJob } from './get.ts';

/** A readable output. The head and the content each cost one R2 read, so a route reads only the one it needs. */
export type OpenOutput = {
  output: Output;
  head(): Promise<OutputHead | null>;
  /** Reads the whole content, or one range of the version with this ETag. Null when the file does not exist. */
  read(wanted: { range: ByteRange; etag: string } | null): Promise<(OutputHead & { body: ReadableStream }) | null>;
};

/** Finds an output by its name. A job of another account is reported like an unknown name. */
export async function findOutput(
  context: ServiceContext,
  caller: Caller,
  job: string,
  name: string,
): Promise<Result<OpenOutput, Problem>> {
  const view = await getJob(context, caller, job);
  if (!view.ok) {
    return view;
  }
  const output = view.value.outputs.find((each) => each.name === name);
  if (output === undefined) {
    return fail(notFound);
  }
  const { key } = output;
  if (key === null) {
    return ok(inlineOutput(output, new Date(view.value.created_at)));
  }
  return ok({
    output,
    head: () => headOutput(context.env.BUCKET, key),
    read: (wanted) => openOutput(context.env.BUCKET, key, wanted),
  });
}

/** A short text is stored in the job's record. It never changes, so its hash is its ETag. */
function inlineOutput(output: Output, modified: Date): OpenOutput {
  const bytes = new TextEncoder().encode(output.text ?? '');
  const head: OutputHead = { size: bytes.length, etag: `"${output.sha256}"`, modified };
  return {
    output,
    head: () => Promise.resolve(head),
    read: (wanted) => {
      const { offset, length } = wanted?.range ?? { offset: 0, length: bytes.length };
      return Promise.resolve({ ...head, body: new Blob([bytes.subarray(offset, offset + length)]).stream() });
    },
  };
}
