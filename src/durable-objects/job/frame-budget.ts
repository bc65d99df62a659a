/**
 * How many frames of a worker's channel are acted on. A worker sends six in a second at most (docs/reference/worker-contract.md, channel), and its
 * thousand outputs twice at the end of a graph. Each that is acted on may be a write of the whole state, so a flood would hold up the job's
 * object, and on one machine the gateway, for minutes.
 */
export const FRAME_BURST = 2_500;
export const FRAMES_PER_S = 20;
/** Frames beyond those that are only counted; at one more the connection is closed. */
export const MAX_DROPPED_FRAMES = 5_000;

/** A bucket of frames that fills by itself, and may owe some. On the heap: an object that slept for a while begins with a full one. */
export class FrameBudget {
  private left = FRAME_BURST;
  private at: number | null = null;

  /** What to do with one more frame. */
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
