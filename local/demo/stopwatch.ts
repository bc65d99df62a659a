import type { Job } from '../../clients/sdk/index.ts';

/** Measures named steps. */
export class Stopwatch {
  readonly #laps: [string, number][] = [];
  readonly #begin = performance.now();

  /** Records the duration of `work` and returns its result. */
  async measure<T>(name: string, work: Promise<T>): Promise<T> {
    const begin = performance.now();
    const result = await work;
    this.#laps.push([name, performance.now() - begin]);
    return result;
  }

  report(metrics: Job['metrics']): string {
    const job: [string, number | null][] = [
      ['job: waiting', metrics.queue_ms],
      ['job: execution', metrics.execution_ms],
      ['job: upload of outputs', metrics.upload_ms],
      ['job: in all', metrics.total_ms],
    ];
    const total: [string, number][] = [['everything', performance.now() - this.#begin]];
    return [...this.#laps, ...job, ...total]
      .map(([name, ms]) => `  ${name.padEnd(24)}${ms === null ? '      -' : `${(ms / 1000).toFixed(2)} s`.padStart(9)}`)
      .join('\n');
  }
}
