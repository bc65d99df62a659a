import { readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { ApiError, ComfyEdge, ComfyEdgeError, type Job } from '../clients/sdk/index.ts';
import { writeOutputs } from './demo/outputs.ts';
import { drawPicture } from './demo/picture.ts';
import { NodeProgressBars } from './demo/progress.ts';
import { Stopwatch } from './demo/stopwatch.ts';
import { prepareStack } from './prepare.ts';
import { type Launch, launch } from './stack/launcher.ts';
import { unanswered } from './stack/probe.ts';
import { type Outcome, done, failure } from './stack/outcome.ts';
import { type Stack, startStack } from './stack/stack.ts';

/** Name of the input in the demo's graph. */
const INPUT_NAME = 'photo.png';
const INPUT_SIZE = { width: 1200, height: 800 };

/** The job's `finish_within`, in seconds. */
const FINISH_WITHIN_S = 300;

/** How long an interrupted demo may take to cancel its job. */
const CANCEL_MS = 1_000;

const root = resolve(import.meta.dirname, '..');
const outputFolder = resolve(root, process.env['DEMO_OUTPUT'] ?? 'demo-output');
const workflowSchema = z.record(
  z.string(),
  z.looseObject({ class_type: z.string(), inputs: z.record(z.string(), z.unknown()) }),
);

/** `npm run demo`: one job through the whole platform, from nothing running to files on disk and nothing running. */
async function demo({ signal, defer }: Launch): Promise<Outcome<null>> {
  const times = new Stopwatch();

  const prepared = await times.measure('set-up', prepareStack(root, process.env, signal));
  if (!prepared.ok) {
    return prepared;
  }
  console.log('Starting gateway, RunPod, worker and ComfyUI');
  const started = await times.measure('start', startStack({ ...prepared.value, workers: { min: 1, max: 1 }, signal }));
  if (!started.ok) {
    return started;
  }
  const stack = started.value;
  defer(() => stack.stop());

  const finished = await Promise.race([runJob(stack, times, signal, defer), trouble(stack, signal)]);
  if (!finished.ok) {
    return failure(finished.message, [...finished.details, `Logs: ${relative(root, stack.logs)}/`]);
  }
  await times.measure('shutdown', stack.stop());
  console.log(`\n${times.report(finished.value.metrics)}`);
  return done(null);
}

async function runJob(
  stack: Stack,
  times: Stopwatch,
  signal: AbortSignal,
  defer: Launch['defer'],
): Promise<Outcome<Job>> {
  const edge = new ComfyEdge({ url: stack.url, key: stack.key });
  const workflow = workflowSchema.parse(JSON.parse(readFileSync(join(root, 'workflows/demo/workflow.json'), 'utf8')));
  try {
    const picture = drawPicture(INPUT_SIZE.width, INPUT_SIZE.height);
    const asset = await times.measure('upload', edge.assets.upload(picture, { contentType: 'image/png', signal }));
    console.log(`Uploaded ${INPUT_NAME} (${picture.length} bytes)`);
    const inputs = [{ name: INPUT_NAME, asset: asset.id }];
    const submitted = await edge.jobs.submit({ workflow, inputs, finish_within: FINISH_WITHIN_S }, { signal });
    console.log(`Job ${submitted.id}`);
    let over = false;
    // The gateway keeps unfinished jobs: an interrupted one would run at the next start.
    defer(async () => {
      if (!over) {
        await edge.jobs.cancel(submitted.id, { signal: AbortSignal.timeout(CANCEL_MS) }).catch(() => undefined);
      }
    });

    const bars = new NodeProgressBars(workflow, {
      write: (text) => process.stdout.write(text),
      isTerminal: process.stdout.isTTY,
      rows: process.stdout.rows ?? 0,
    });
    const job = await edge.jobs.wait(submitted.id, { after: 0, signal, onEvent: (event) => bars.show(event) });
    over = true;
    if (job.status !== 'succeeded') {
      return failure(
        `The job ended ${job.status}: ${job.error?.message ?? 'no reason given'} (${job.error?.code ?? '-'}).`,
      );
    }
    if (!job.outputs.some(({ type }) => type === 'image') || !job.outputs.some(({ type }) => type === 'video')) {
      return failure(
        `The job should have made an image and a video; it made ${job.outputs.map(({ name }) => name).join(', ') || 'nothing'}.`,
      );
    }
    const written = await times.measure('download', writeOutputs(edge, job, outputFolder, signal));
    if (!written.ok) {
      return written;
    }
    for (const { path, bytes } of written.value) {
      console.log(`Wrote ${relative(root, path)} (${bytes} bytes, SHA-256 as the API says)`);
    }
    return done(job);
  } catch (error) {
    if (error instanceof ComfyEdgeError) {
      const requestId = error instanceof ApiError ? error.problem.requestId : null;
      return failure(`The gateway: ${error.message}${requestId === null ? '' : ` (request ${requestId})`}`);
    }
    throw error;
  }
}

/** Resolves when a part of the platform has ended, so that the job cannot finish. */
async function trouble(stack: Stack, signal: AbortSignal): Promise<Outcome<never>> {
  return Promise.race([
    stack.gateway.died.then((log) => failure('The gateway ended in the middle of the job.', log)),
    unanswered({ url: `${stack.url}/healthz`, signal }).then(() =>
      failure('The gateway does not answer any more.', stack.gateway.tail()),
    ),
    stack.workersFailed.then((log) => failure('The worker does not start.', log)),
  ]);
}

await launch(demo);
