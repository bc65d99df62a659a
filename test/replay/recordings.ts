import { readFileSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { z } from 'zod';

const folder = join(import.meta.dirname, '..', 'fixtures', 'comfyui', '0.3.64');

/** Files without a run of a prompt: plain HTTP calls, and the list of nodes (served as it is, by `ReplayedComfyUi`). */
export const WITHOUT_PROMPT = ['http_calls', 'object_info'];

/** One websocket message as ComfyUI sent it. `prompt` is the id it carries, if it carries one. */
export interface Frame {
  type: string;
  prompt: string | null;
  content: string | Buffer;
}

/** A prompt as one client met it. */
export interface Recording {
  /** The file; with a number where the file holds several prompts. */
  name: string;
  promptId: string;
  graph: Record<string, { class_type: string; inputs: Record<string, unknown> }>;
  /** ComfyUI's answer to `POST /prompt`. */
  answer: { status: number; body: unknown };
  /** The messages that its client received after that, those of other prompts included. */
  frames: readonly Frame[];
  /** What the history said of it; null where it left none. */
  history: unknown;
  /** Its client came to the socket only after the prompt had begun. */
  late: boolean;
}

const frameSchema = z.union([
  z.object({ text: z.looseObject({ type: z.string(), data: z.looseObject({ prompt_id: z.string().optional() }) }) }),
  z.object({ binary: z.string() }),
]);
const graphSchema = z.record(
  z.string(),
  z.object({ class_type: z.string(), inputs: z.record(z.string(), z.unknown()) }),
);
const historySchema = z.record(
  z.string(),
  z.looseObject({ prompt: z.tuple([z.number(), z.string(), graphSchema], z.unknown()) }),
);
const queueSchema = z.array(z.tuple([z.number(), z.string(), graphSchema], z.unknown()));
const acceptedSchema = z.looseObject({ prompt_id: z.string() });

const oneClientSchema = z.object({
  prompt: graphSchema,
  prompt_response: z.object({ status: z.number(), body: z.unknown() }),
  websocket_messages: z.array(frameSchema),
  history: historySchema.nullable(),
});
const stepSchema = z.looseObject({
  prompt_id: z.string().optional(),
  status: z.number().optional(),
  body: acceptedSchema.optional(),
  queue: z.object({ queue_running: queueSchema, queue_pending: queueSchema }).optional(),
  queue_running: queueSchema.optional(),
  queue_pending: queueSchema.optional(),
  history: historySchema.optional(),
  history_first: historySchema.optional(),
  websocket_late: z.array(frameSchema).optional(),
});
const twoClientsSchema = z.object({
  steps: z.array(stepSchema),
  websocket_a: z.array(frameSchema),
  websocket_b: z.array(frameSchema),
});

type Graph = z.infer<typeof graphSchema>;
type Step = z.infer<typeof stepSchema>;

/** Graphs that the recorder posted and the files do not repeat. */
const slowGraph = (steps: number, seconds: number, preview: boolean): Graph => ({
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 3_368_652 } },
  '5': { class_type: 'SlowSteps', inputs: { image: ['1', 0], steps, seconds, preview } },
  '2': { class_type: 'SaveImage', inputs: { images: ['5', 0], filename_prefix: 't' } },
});
const plainGraph: Graph = {
  '1': { class_type: 'EmptyImage', inputs: { width: 64, height: 64, batch_size: 1, color: 3_368_652 } },
  '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 't' } },
};
const POSTED: Record<string, Graph> = {
  previews_with_metadata: slowGraph(3, 1, true),
  client_connects_in_mid_run: slowGraph(10, 3, false),
  own_prompt_id: plainGraph,
};

/** Every prompt in every file. */
export function allRecordings(): Recording[] {
  return recordedCases()
    .filter((name) => !WITHOUT_PROMPT.includes(name))
    .flatMap((name) => {
      const file = readRecorded(name);
      const one = oneClientSchema.safeParse(file);
      return one.success ? [ofOneClient(name, one.data)] : ofTwoClients(name, twoClientsSchema.parse(file));
    });
}

/** Names of all files. */
export function recordedCases(): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => basename(name, '.json'))
    .toSorted();
}

/** The only prompt of a file. */
export function recording(name: string): Recording {
  const found = allRecordings().find((each) => each.name === name);
  if (found === undefined) {
    throw new Error(`no recording ${name}`);
  }
  return found;
}

/** One file as it is. */
export function readRecorded(name: string): unknown {
  return JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8'));
}

function ofOneClient(name: string, file: z.infer<typeof oneClientSchema>): Recording {
  const accepted = acceptedSchema.safeParse(file.prompt_response.body);
  const promptId = accepted.success ? accepted.data.prompt_id : `refused ${name}`;
  return {
    name,
    promptId,
    graph: file.prompt,
    answer: file.prompt_response,
    frames: afterSubmission(file.websocket_messages),
    history: file.history?.[promptId] ?? null,
    late: false,
  };
}

/** A recording for each prompt that was posted, with the frames of the client that posted it. */
function ofTwoClients(name: string, file: z.infer<typeof twoClientsSchema>): Recording[] {
  const late = file.steps.flatMap((step) => step.websocket_late ?? []);
  const clients = [file.websocket_a, file.websocket_b, late].map(afterSubmission);
  const queued = file.steps.flatMap((step) => [
    ...inQueue(step),
    ...(step.queue === undefined ? [] : inQueue(step.queue)),
  ]);
  const answers = file.steps.flatMap((step): { status: number; body: { prompt_id: string } }[] => {
    if (step.body !== undefined) {
      return [{ status: step.status ?? 200, body: step.body }];
    }
    return step.prompt_id === undefined ? [] : [{ status: 200, body: acceptedSchema.parse(step) }];
  });
  const ids = new Set([...answers.map((answer) => answer.body.prompt_id), ...queued.map(([, id]) => id)]);
  return [...ids].map((promptId, index) => {
    const frames =
      clients.find((client) => client.some((frame) => frame.prompt === promptId)) ??
      // Deleted while queued: its client received messages of the other prompts only.
      clients.find((client) => client.some((frame) => frame.prompt !== null));
    const mentioned = frames?.some((frame) => frame.prompt === promptId) ?? false;
    const histories = file.steps.flatMap((step) =>
      [step.history?.[promptId] ?? [], step.history_first?.[promptId] ?? []].flat(),
    );
    const graph = histories[0]?.prompt[2] ?? queued.find(([, id]) => id === promptId)?.[2] ?? POSTED[name];
    if (graph === undefined) {
      throw new Error(`${name}: no graph for ${promptId}`);
    }
    return {
      name: ids.size === 1 ? name : `${name} ${index + 1}`,
      promptId,
      graph,
      answer: answers.find((answer) => answer.body.prompt_id === promptId) ?? {
        status: 200,
        body: { prompt_id: promptId, number: 0, node_errors: {} },
      },
      frames: frames ?? [],
      history: histories[0] ?? (frames !== undefined && mentioned ? historyOf(frames, promptId) : null),
      late: frames !== undefined && frames === clients[2],
    };
  });
}

const inQueue = (step: Pick<Step, 'queue_running' | 'queue_pending'>) => [
  ...(step.queue_running ?? []),
  ...(step.queue_pending ?? []),
];

/** What ComfyUI writes for a success, where the recorder did not ask for it. */
function historyOf(frames: readonly Frame[], promptId: string): unknown {
  const executed = z.object({ data: z.object({ node: z.string(), output: z.unknown() }) });
  const outputs = frames
    .filter((frame) => frame.prompt === promptId && frame.type === 'executed')
    .map((frame) => executed.parse(JSON.parse(frame.content.toString())).data)
    .map(({ node, output }) => [node, output]);
  return {
    outputs: Object.fromEntries(outputs),
    status: { status_str: 'success', completed: true, messages: [] },
    meta: {},
  };
}

/** Without what a socket hears as it opens: the status that names its session, and the server's features. */
function afterSubmission(recorded: readonly z.infer<typeof frameSchema>[]): Frame[] {
  return recorded.flatMap((frame): Frame[] => {
    if ('binary' in frame) {
      return [{ type: 'binary', prompt: null, content: Buffer.from(frame.binary, 'base64') }];
    }
    const { type, data } = frame.text;
    const opening = type === 'feature_flags' || 'sid' in data;
    return opening ? [] : [{ type, prompt: data.prompt_id ?? null, content: JSON.stringify(frame.text) }];
  });
}
