import { z } from 'zod';
import type { Preview } from '../../contract/events.ts';
import {
  MAX_FRAME_CHARS,
  numberedMessage,
  previewMessage,
  workerMessage,
  type WorkerMessage,
} from '../../contract/worker.ts';
import { parseWorkerJson } from '../../contract/worker-json.ts';
import { currentAttempt, type JobState } from '../../domain/job/state.ts';
import { checkClaim, stopReason } from '../../domain/job/worker-messages.ts';
import { isOwnOutput } from './outputs.ts';
import { CLOSE, close, type JobSockets, sendFrame } from './sockets.ts';

/**
 * Opens a socket to the worker. It replaces an earlier one, which may be dead without a close event. The first frame is
 * the `ack`, then a cancel if the job has one. 409 or 410 when the claim is not the current one.
 * @param opened called before the first frame, to notify the machine
 */
export function openChannel(
  sockets: JobSockets,
  state: JobState,
  attempt: number,
  claim: string,
  opened: () => void,
): Response {
  const reply = checkClaim({ state }, attempt, claim);
  if (reply !== 'granted') {
    return new Response(null, { status: reply === 'claimed_elsewhere' ? 409 : 410 });
  }
  const older = sockets.channels(attempt);
  const now = Date.now();
  const { client, server } = sockets.accept({ kind: 'channel', attempt, claim, opened_at: now });
  for (const socket of older) {
    close(socket, CLOSE.replaced, 'replaced by a newer connection');
  }
  opened();
  sendFrame(server, { ack: currentAttempt(state)?.acked ?? 0 });
  const reason = stopReason(state, now);
  if (reason !== null) {
    sendFrame(server, { cancel: true, reason });
  }
  return new Response(null, { status: 101, webSocket: client });
}

/** What a frame of the worker's channel says (docs/reference/worker-contract.md, channel). */
export type WorkerFrame =
  | { kind: 'preview'; preview: Preview }
  | { kind: 'message'; message: WorkerMessage }
  /** A preview that is dropped because it is too large or malformed. */
  | { kind: 'nothing' }
  /** Not a frame of the contract. */
  | { kind: 'broken' };

/**
 * Reads a frame. A numbered frame that cannot be read becomes `unknown` and is acknowledged, because the worker would
 * send a refused frame again after every reconnect, before all later ones.
 * @param drop reads only the number, because the frame is over the budget
 */
export function readWorkerFrame(
  data: string | ArrayBuffer,
  state: JobState,
  attempt: number,
  drop: boolean,
): WorkerFrame {
  const frame = typeof data === 'string' ? parseJson(data) : null;
  if (anyPreview.safeParse(frame).success) {
    const preview = drop ? null : previewMessage.safeParse(frame);
    if (preview?.success !== true) {
      return { kind: 'nothing' };
    }
    const { node_id, content_type, data_base64 } = preview.data;
    return { kind: 'preview', preview: { node_id, content_type, data_base64 } };
  }
  const numbered = numberedMessage.safeParse(frame);
  if (!numbered.success) {
    return { kind: 'broken' };
  }
  if (drop) {
    return { kind: 'message', message: { seq: numbered.data.seq, type: 'dropped' } };
  }
  const message = data instanceof ArrayBuffer || data.length > MAX_FRAME_CHARS ? null : workerMessage.safeParse(frame);
  const accepted =
    message?.success === true && (message.data.type !== 'output' || isOwnOutput(state, attempt, message.data.output));
  return {
    kind: 'message',
    message: accepted ? message.data : { seq: numbered.data.seq, type: 'unknown' },
  };
}

const anyPreview = z.object({ type: z.literal('preview') });

function parseJson(text: string): unknown {
  try {
    return parseWorkerJson(text);
  } catch {
    return null;
  }
}
