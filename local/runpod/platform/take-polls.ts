import type { Clock } from '../clock.ts';
import type { RunpodJob } from '../core/job.ts';

/** How a waiting job-take ended: with jobs, with none, or because the worker hung up. */
export type TakeEnd = { hungUp: boolean; jobs: RunpodJob[] };

interface Poll {
  worker: string;
  count: number;
  end: (end: TakeEnd) => void;
}

/** The workers that wait for work, longest first. */
export class TakePolls {
  readonly #clock: Clock;
  #polls: Poll[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Waits until jobs are given, the worker is released or hangs up, or `holdMs` has passed. */
  wait(worker: string, count: number, holdMs: number, signal: AbortSignal): Promise<TakeEnd> {
    return new Promise((resolve) => {
      const onAbort = (): void => poll.end({ hungUp: true, jobs: [] });
      const poll: Poll = {
        worker,
        count,
        end: (end) => {
          this.#polls = this.#polls.filter((other) => other !== poll);
          stopTimer();
          signal.removeEventListener('abort', onAbort);
          resolve(end);
        },
      };
      const stopTimer = this.#clock.schedule(holdMs, () => poll.end({ hungUp: false, jobs: [] }));
      signal.addEventListener('abort', onAbort);
      this.#polls.push(poll);
    });
  }

  /** Gives jobs to the first waiting worker that may have some; false if there is none. */
  give(mayHave: (worker: string) => boolean, take: (worker: string, count: number) => RunpodJob[]): boolean {
    const poll = this.#polls.find((each) => mayHave(each.worker));
    poll?.end({ hungUp: false, jobs: take(poll.worker, poll.count) });
    return poll !== undefined;
  }

  /** Ends what one worker, or every worker, waits for. */
  release(worker?: string): void {
    for (const poll of this.#polls.filter((each) => worker === undefined || each.worker === worker)) {
      poll.end({ hungUp: false, jobs: [] });
    }
  }
}
