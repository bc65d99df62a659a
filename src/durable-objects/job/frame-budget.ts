/**
 * How many frames of a worker's channel are processed. A worker sends at most six per second
 * (docs/reference/worker-contract.md, channel), and its thousand outputs twice at the end of a graph. Each processed
 * frame may write the whole state, so a flood would block the job's object, and on one machine the gateway, for
 * minutes.
 */
export const FRAME_BURST = 2_500;
export const FRAMES_PER_S = 20;
/** The most frames over the budget that are dropped. One more closes the connection. */
export const MAX_DROPPED_FRAMES = 5_000;

/**
 * A token bucket of frames that may go below zero. On the heap, so an object begins with a full one after hibernation.
 */
export class FrameBudget {
  private left = FRAME_BURST;
  private at: number | null = null;

  /** What to do with the next frame. */
  spend(now: number): 'act' | 'drop' | 'close' {
    const passed_s = Math.max(0, now - (this.at ?? now)) / 1000;
    this.at = now;
    this.left = Math.min(FRAME_BURST, this.left + passed_s * FRAMES_PER_S);
    if (this.left < 1 - MAX_DROPPED_FRAMES) {
      return 'close';
    }
    this.left -= 1;
    return this.left < 0 ? 'drop' : 'act';
  }
}
