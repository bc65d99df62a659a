import { relative, resolve } from 'node:path';
import { prepareStack } from './prepare.ts';
import { type Launch, launch } from './stack/launcher.ts';
import { type Outcome, done, failure } from './stack/outcome.ts';
import { type Stack, startStack } from './stack/stack.ts';

const root = resolve(import.meta.dirname, '..');

/** `npm start`: keeps the whole platform up until it is asked to end. */
async function start({ signal, defer }: Launch): Promise<Outcome<null>> {
  const prepared = await prepareStack(root, process.env, signal);
  if (!prepared.ok) {
    return prepared;
  }
  const started = await startStack({ ...prepared.value, workers: { min: 1, max: 2 }, signal });
  if (!started.ok) {
    return started;
  }
  const stack = started.value;
  defer(() => stack.stop());
  console.log(greeting(stack));
  void warnOfWorkers(stack);
  const asked = new Promise<null>((answer) => {
    signal.addEventListener('abort', () => answer(null));
  });
  const log = await Promise.race([stack.gateway.died, asked]);
  return log === null ? done(null) : failure('The gateway ended by itself.', log);
}

/** RunPod goes on starting workers, so the platform recovers by itself once the trouble is mended. */
async function warnOfWorkers(stack: Stack): Promise<void> {
  for (const line of await stack.workersFailed) {
    console.error(`  ${line}`);
  }
  console.error('The worker does not start; jobs wait until it does.');
}

/** What a person needs next; the curl line works as it stands. */
function greeting(stack: Stack): string {
  const workflow = {
    '1': { class_type: 'EmptyImage', inputs: { width: 256, height: 256, batch_size: 1, color: 0x3366cc } },
    '2': { class_type: 'SaveImage', inputs: { images: ['1', 0], filename_prefix: 'hello' } },
  };
  return `
comfy-edge is up. Ctrl-C stops it.

  gateway   ${stack.url}
  API key   ${stack.key}
  RunPod    ${stack.runpodAdmin}/state
  logs      ${relative(root, stack.logs)}/

  curl -s ${stack.url}/v1/jobs -H 'Authorization: Bearer ${stack.key}' -H 'Content-Type: application/json' -d '${JSON.stringify({ workflow })}'
`;
}

await launch(start);
