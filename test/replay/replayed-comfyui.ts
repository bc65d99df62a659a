import { createAdaptorServer } from '@hono/node-server';
import { Hono } from 'hono';
import { type WebSocket, WebSocketServer } from 'ws';
import { z } from 'zod';
import { type Recording, readRecorded } from './recordings.ts';

/** First bytes of each kind of file; the file's name follows, so that no two files are equal. */
const MAGIC: Record<string, Buffer> = {
  png: Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
  webp: Buffer.from('RIFF\x10\x00\x00\x00WEBPVP8L', 'latin1'),
  mp4: Buffer.from('\x00\x00\x00\x20ftypisom', 'latin1'),
  webm: Buffer.from('\x1a\x45\xdf\xa3\x01\x42\x82\x84webm', 'latin1'),
};

/** How a recording is played. */
export interface Deviation {
  /** Before the first message of this type is sent, `until` is waited for. */
  hold?: { before: string; until: Promise<unknown> };
  /** The socket is cut when this many messages were sent (0: before the first); the others are lost. */
  cutAfter?: number;
}

/** A prompt that was posted, in the words of the client that posted it. */
interface Posted {
  id: string;
  /** First folder of its save prefixes; empty where it saves nothing. */
  folder: string;
  recording: Recording;
  manner: Deviation;
}

/** A ComfyUI 0.3.64 that gives every prompt the answers, messages and history of a recording. */
export interface ReplayedComfyUi {
  url: string;
  /** What the next prompt meets. */
  play(recording: Recording, manner?: Deviation): void;
  /** Resolves when somebody asks to interrupt what runs. */
  interrupted(): Promise<void>;
  /** What `/view` served, by `type/subfolder/filename`. */
  served: ReadonlyMap<string, Buffer>;
  close(): Promise<void>;
}

const postedSchema = z.object({
  prompt: z.record(z.string(), z.object({ inputs: z.record(z.string(), z.unknown()) })),
  prompt_id: z.string(),
  client_id: z.string(),
});
const deleteSchema = z.object({ delete: z.array(z.string()) });

/** Messages after which ComfyUI writes the history, before it says anything more. */
const ENDS = new Set(['execution_success', 'execution_error', 'execution_interrupted']);

export async function startReplayedComfyUi(): Promise<ReplayedComfyUi> {
  const sockets = new Map<string, WebSocket>();
  const history = new Map<string, unknown>();
  const served = new Map<string, Buffer>();
  const opened = new Map<string, PromiseWithResolvers<void>>();
  let next: Pick<Posted, 'recording' | 'manner'> | null = null;
  let current: Posted | null = null;
  let begun = false;
  let interruption = Promise.withResolvers<void>();

  /** The next socket of a client. */
  const opening = (client: string): Promise<void> => {
    const waiting = opened.get(client) ?? Promise.withResolvers<void>();
    opened.set(client, waiting);
    return waiting.promise;
  };

  async function perform(posted: Posted, client: string): Promise<void> {
    const { recording, manner } = posted;
    const { cutAfter = Number.POSITIVE_INFINITY } = manner;
    if (recording.late || cutAfter === 0) {
      sockets.get(client)?.terminate();
      sockets.delete(client);
    }
    if (recording.late) {
      begun = true;
      await opening(client);
    }
    let held = manner.hold;
    for (const [index, frame] of recording.frames.entries()) {
      if (held !== undefined && frame.type === held.before) {
        await held.until;
        held = undefined;
      }
      const ours = frame.prompt === recording.promptId;
      begun ||= ours;
      if (index < cutAfter) {
        sockets.get(client)?.send(adapted(frame.content, posted));
      }
      if (index + 1 === cutAfter) {
        sockets.get(client)?.terminate();
        sockets.delete(client);
      }
      if (ours && ENDS.has(frame.type)) {
        history.set(posted.id, adaptedEntry(posted));
        current = null;
      }
    }
    current = null;
  }

  const app = new Hono();
  app.get('/system_stats', (c) =>
    c.json({ system: { comfyui_version: '0.3.64' }, devices: [{ name: 'cpu', type: 'cpu' }] }),
  );
  app.get('/object_info', (c) =>
    // NoSuchNode was there when the worker looked and is gone now: else the gateway would refuse it before ComfyUI could.
    c.json({ ...z.record(z.string(), z.unknown()).parse(readRecorded('object_info')), NoSuchNode: {} }),
  );
  app.post('/prompt', async (c) => {
    const { prompt, prompt_id: id, client_id: client } = postedSchema.parse(await c.req.json());
    if (next === null) {
      return c.json({ error: { type: 'test', message: 'no recording was chosen', details: '' }, node_errors: {} }, 400);
    }
    const prefixes = Object.values(prompt).flatMap(({ inputs }) => inputs['filename_prefix'] ?? []);
    const folder = String(prefixes[0] ?? '').split('/')[0] ?? '';
    const posted = { id, folder, ...next };
    // A worker frees memory and tries once more where memory ran out: the recording then happens again, undisturbed.
    next = posted.recording.answer.status === 200 ? { recording: posted.recording, manner: {} } : null;
    const { status, body } = posted.recording.answer;
    if (status === 200) {
      current = posted;
      begun = false;
      setImmediate(() => void perform(posted, client));
    }
    return c.body(adapted(JSON.stringify(body), posted), status === 200 ? 200 : 400, {
      'content-type': 'application/json',
    });
  });
  app.get('/queue', (c) => {
    const entry = current === null ? [] : [[0, current.id, {}, {}, []]];
    return c.json({ queue_running: begun ? entry : [], queue_pending: begun ? [] : entry });
  });
  app.post('/queue', async (c) => {
    const { delete: ids } = deleteSchema.parse(await c.req.json());
    if (current !== null && !begun && ids.includes(current.id)) {
      current = null;
    }
    return c.body(null, 200);
  });
  app.get('/history/:id', (c) => {
    const id = c.req.param('id');
    return c.json(history.has(id) ? { [id]: history.get(id) } : {});
  });
  app.post('/history', async (c) => {
    deleteSchema.parse(await c.req.json()).delete.forEach((id) => history.delete(id));
    return c.body(null, 200);
  });
  app.post('/interrupt', (c) => {
    interruption.resolve();
    return c.body(null, 200);
  });
  app.post('/free', (c) => c.body(null, 200));
  app.get('/view', (c) => {
    const { filename = '', subfolder = '', type = 'output' } = c.req.query();
    const path = `${type}/${subfolder}/${filename}`;
    const bytes = Buffer.concat([MAGIC[filename.split('.').at(-1) ?? ''] ?? Buffer.alloc(0), Buffer.from(path)]);
    served.set(path, bytes);
    return c.body(new Uint8Array(bytes), 200);
  });
  app.post('/upload/image', async (c) => {
    const form = await c.req.formData();
    const image = form.get('image');
    return image instanceof File
      ? c.json({ name: image.name, subfolder: form.get('subfolder'), type: 'input' })
      : c.body(null, 400);
  });

  const server = createAdaptorServer({ fetch: app.fetch });
  const socketServer = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, stream, head) => {
    const client = new URL(request.url ?? '/', 'http://comfyui').searchParams.get('clientId') ?? '';
    socketServer.handleUpgrade(request, stream, head, (socket) => {
      sockets.set(client, socket);
      socket.on('close', () => sockets.get(client) === socket && sockets.delete(client));
      socket.send(
        JSON.stringify({ type: 'status', data: { status: { exec_info: { queue_remaining: 0 } }, sid: client } }),
      );
      opened.get(client)?.resolve();
      opened.delete(client);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? (address?.port ?? 0) : 0}`,
    play(recording, manner = {}) {
      next = { recording, manner };
      interruption = Promise.withResolvers<void>();
    },
    interrupted: () => interruption.promise,
    served,
    close: () =>
      new Promise((resolve) => {
        socketServer.clients.forEach((socket) => socket.terminate());
        server.close(() => resolve());
        if ('closeAllConnections' in server) {
          server.closeAllConnections();
        }
      }),
  };
}

/** A recorded text or binary message under the ids and the folder of the prompt that was posted. */
function adapted(content: string, posted: Posted): string;
function adapted(content: string | Buffer, posted: Posted): string | Buffer;
function adapted(content: string | Buffer, { recording, id, folder }: Posted): string | Buffer {
  if (typeof content !== 'string') {
    // Both ids have 36 characters, so the length that a preview states stays right.
    return Buffer.from(content.toString('latin1').replaceAll(recording.promptId, id), 'latin1');
  }
  return JSON.stringify(inFolder(JSON.parse(content.replaceAll(recording.promptId, id)), folder));
}

const adaptedEntry = (posted: Posted): unknown => JSON.parse(adapted(JSON.stringify(posted.recording.history), posted));

/** ComfyUI would have saved below the folder that the prefixes name. */
function inFolder(value: unknown, folder: string): unknown {
  if (Array.isArray(value)) {
    return value.map((item) => inFolder(item, folder));
  }
  if (typeof value !== 'object' || value === null) {
    return value;
  }
  if ('filename' in value && 'subfolder' in value && 'type' in value && value.type === 'output' && folder !== '') {
    return { ...value, subfolder: value.subfolder === '' ? folder : `${folder}/${String(value.subfolder)}` };
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inFolder(item, folder)]));
}
