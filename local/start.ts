import { relative, resolve } from 'node:path';
import { prepareStack } from './prepare.ts';
import { type Launch, launch } from './stack/launcher.ts';
import { unanswered } from './stack/probe.ts';
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
  return keepUp(stack, signal);
}

/** Restarts of the gateway before `npm start` exits. */
const MAX_RESTARTS = 3;

/** Resolves when the program must end, or when the gateway cannot be restarted. Its state is on disk: no job is lost. */
async function keepUp(stack: Stack, signal: AbortSignal): Promise<Outcome<null>> {
  const asked = new Promise<'asked'>((answer) => {
    signal.addEventListener('abort', () => answer('asked'));
  });
  const ended = stack.gateway.died.then((log) => ({ log }));
  for (let restarts = 0; ; restarts += 1) {
    const silent = unanswered({ url: `${stack.url}/healthz`, signal }).then(() => 'silent' as const);
    const what = await Promise.race([asked, ended, silent]);
    if (what === 'asked') {
      return done(null);
    }
    if (what !== 'silent') {
      return failure('The gateway ended by itself.', what.log);
    }
    if (restarts === MAX_RESTARTS) {
      return failure('The gateway does not answer any more.', stack.gateway.tail());
    }
    console.error('The gateway does not answer. Starting it again.');
    const again = await stack.gateway.restart();
    if (!again.ok) {
      return failure(`The gateway could not be started again. ${again.message}`, again.details);
    }
    console.error('The gateway is up again.');
  }
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
