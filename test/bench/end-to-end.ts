import { setTimeout as delay } from 'node:timers/promises';
import { isFinal } from '../../clients/sdk/index.ts';
import { quickGraph, startPlatform } from '../e2e/platform.ts';
import type { Rounds, Row } from './table.ts';

/** The RunPod SDK sleeps up to a second after a job before it asks for the next: a job is submitted to a worker that waits. */
const SDK_PAUSE_MS = 1_500;

/** A job through the real gateway, local/runpod, the worker and the CPU engine, as the client of the API meets it. */
export async function measureEndToEnd({ warmUp, runs }: Rounds, signal: AbortSignal): Promise<Row[]> {
  const { edge, ...platform } = await startPlatform({ policy: {} });
  const accepted: number[] = [];
  const first: number[] = [];
  const ended: number[] = [];
  try {
    for (let number = 0; number < warmUp + runs; number += 1) {
      await delay(SDK_PAUSE_MS, undefined, { signal });
      const start = performance.now();
      const job = await edge.jobs.submit({ workflow: quickGraph });
      accepted.push(performance.now() - start);
      let executing = Number.NaN;
      for await (const event of edge.jobs.watch(job.id, { after: 0, signal: AbortSignal.timeout(60_000) })) {
        if (event.event !== 'status') {
          continue;
        }
        if (event.data.stage === 'executing') {
          executing = performance.now() - start;
        }
        if (isFinal(event.data.status) && event.data.status !== 'succeeded') {
          throw new Error(`the job ended ${event.data.status}`);
        }
      }
      first.push(executing);
      ended.push(performance.now() - start);
    }
  } finally {
    await platform.stop();
  }
  const row = (what: string, samples: number[]): Row => ({ what, aim: null, samples: samples.slice(warmUp) });
  return [
    row('submit → 201', accepted),
    row('submit → event "executing"', first),
    row('submit → event "succeeded", quick graph', ended),
  ];
}
