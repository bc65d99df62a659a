import type { Preview } from '../../contract/events.ts';
import type { Output } from '../../contract/job.ts';
import {
  MAX_FRAME_CHARS,
  MAX_INLINE_TEXT_BYTES,
  numberedMessage,
  previewMessage,
  workerMessage,
  type WorkerMessage,
} from '../../contract/worker.ts';
import type { JobState } from '../../core/job/state.ts';
import { outputKey } from '../../storage/keys.ts';
import { z } from 'zod';

/** What a frame of the worker's channel says (docs/worker-contract.md, channel). */
export type WorkerFrame =
  | { kind: 'preview'; preview: Preview }
  | { kind: 'message'; message: WorkerMessage }
  /** A preview that is too large or malformed: dropped, as any preview may be. */
  | { kind: 'nothing' }
  /** No frame of the contract. */
  | { kind: 'broken' };

/**
 * Reads a frame. One that has a number but no sense is taken as `unknown`: it is acknowledged, for a frame that is refused
 * comes again after every reconnect and blocks all that follow it.
 */
export function readFrame(data: string | ArrayBuffer, state: JobState, attempt: number): WorkerFrame {
  const frame = typeof data === 'string' ? parseJson(data) : null;
  if (anyPreview.safeParse(frame).success) {
    const preview = previewMessage.safeParse(frame);
    if (!preview.success) {
      return { kind: 'nothing' };
    }
    const { node_id, content_type, data_base64 } = preview.data;
    return { kind: 'preview', preview: { node_id, content_type, data_base64 } };
  }
  const numbered = numberedMessage.safeParse(frame);
  if (!numbered.success) {
    return { kind: 'broken' };
  }
  const message = data instanceof ArrayBuffer || data.length > MAX_FRAME_CHARS ? null : workerMessage.safeParse(frame);
  const taken =
    message?.success === true && (message.data.type !== 'output' || isPlaced(state, attempt, message.data.output));
  return {
    kind: 'message',
    message: taken ? message.data : { seq: numbered.data.seq, type: 'unknown' },
  };
}

const anyPreview = z.object({ type: z.literal('preview') });

/** An output may name its own place in R2 and no other, or carry a short text. */
export function isPlaced(state: JobState, attempt: number, output: Output): boolean {
  return output.key === null
    ? output.text !== undefined && new TextEncoder().encode(output.text).byteLength <= MAX_INLINE_TEXT_BYTES
    : output.key === outputKey(state.account, state.id, attempt, output.name);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
