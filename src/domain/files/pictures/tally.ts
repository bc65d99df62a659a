/** The most frames or pages of one file. An hour of animation at 25 frames per second has 90,000. */
export const MAX_PICTURES = 100_000;

/** Limits in pixels: for each decoded image of a file, and for all of them together. */
export type PixelLimits = { picture: number; file: number };

export type Size = { width: number; height: number };

/**
 * Counts the pixels that a decoder would allocate for a file. ComfyUI's `LoadImage` decodes every frame or page, each
 * as large as the canvas (nodes.py of 0.33.0).
 */
export class Tally {
  /** The largest image; null until an image with a width and a height was found. */
  largest: Size | null = null;
  pictures = 0;
  pixels = 0;
  private readonly limits: PixelLimits;

  constructor(limits: PixelLimits) {
    this.limits = limits;
  }

  /** Records a canvas, a tile or a window, which is allocated in addition to the images. */
  canvas(width: number, height: number): void {
    if (width > 0 && height > 0 && (this.largest === null || width * height > areaOf(this.largest))) {
      this.largest = { width, height };
    }
  }

  /** Counts images of this size. */
  add(width: number, height: number, count = 1): void {
    this.canvas(width, height);
    this.pictures += count;
    this.pixels += count * width * height;
  }

  /** Whether the file exceeds a limit, so that the parser can stop. */
  get full(): boolean {
    return this.problem !== null;
  }

  /** The limit that the file exceeds, if any. */
  get problem(): 'picture' | 'pictures' | 'file' | null {
    if (this.largest !== null && areaOf(this.largest) > this.limits.picture) {
      return 'picture';
    }
    if (this.pictures > MAX_PICTURES) {
      return 'pictures';
    }
    return this.pictures > 1 && this.pixels > this.limits.file ? 'file' : null;
  }
}

const areaOf = ({ width, height }: Size): number => width * height;
