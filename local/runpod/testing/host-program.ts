/**
 * A program that starts a platform, lets calls wait in it, closes it and does nothing more: if `close()` left a timer,
 * a process or a connection behind, this program would not end by itself.
 */
import { systemClock } from '../clock.ts';
import { startRunpod } from '../index.ts';
import { callerOf } from './caller.ts';

const running = await startRunpod({
  port: 0,
  endpoints: [
    { id: 'started', workers: { min: 1, command: ['sleep', '600'] } },
    { id: 'attached', workers: {} },
  ],
});
const { post, run, take, done, workerGet } = callerOf(running.url);

await post('/admin/faults', { kind: 'webhook', action: 'delay', delay_ms: 600_000 });
const job = await run('attached', { input: {}, webhook: 'http://127.0.0.1:9/hook' });
await take('attached', 'mine');
await done('attached', 'mine', job, {});

const waiting = [
  workerGet('/v2/attached/job-take/mine?gpu=x'),
  workerGet('/v2/attached/job-stop/mine?gpu=x'),
  post('/v2/started/runsync', { input: {} }),
];
await running.events.wait({ after: 0, type: 'job_queued', endpoint: 'started' }, 10_000);
await running.close();
await Promise.allSettled(waiting);
process.stdout.write(`closed at ${systemClock.now()}\n`);
