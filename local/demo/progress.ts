import type { JobEvent, NodeProgress } from '../../clients/sdk/index.ts';

const BAR_WIDTH = 20;
const FULL = '█';
const EMPTY = '░';

/** The output: a terminal is redrawn in place, any other stream gets a line per change. */
export interface Screen {
  write(text: string): void;
  isTerminal: boolean;
  /** Rows of the terminal; a graph taller than that cannot be redrawn. */
  rows: number;
}

/** The nodes of a graph, each with its own bar, fed by the events of its job. */
export class NodeProgressBars {
  readonly #screen: Screen;
  readonly #nodes = new Map<string, { name: string; progress: NodeProgress }>();
  readonly #redraws: boolean;
  #overall = 0;
  #stage = '';
  #drawn = 0;

  constructor(workflow: Record<string, { class_type: string }>, screen: Screen) {
    this.#screen = screen;
    for (const [id, { class_type }] of Object.entries(workflow)) {
      this.#nodes.set(id, { name: class_type, progress: { state: 'pending' } });
    }
    this.#redraws = screen.isTerminal && screen.rows > this.#nodes.size + 2;
  }

  /** Shows the change of one event of the job. */
  show(event: JobEvent): void {
    switch (event.event) {
      case 'snapshot':
      case 'status':
        this.#showStage(event.data.stage ?? event.data.status);
        break;
      case 'progress':
        this.#overall = Math.max(this.#overall, event.data.value);
        for (const [id, progress] of Object.entries(event.data.nodes ?? {})) {
          this.#showNode(id, progress);
        }
        break;
      case 'output':
        if (!this.#redraws) {
          this.#screen.write(`  output ${event.data.name} (${event.data.size_bytes} bytes)\n`);
        }
        break;
      default:
    }
    this.#redraw();
  }

  #showStage(stage: string): void {
    if (stage !== this.#stage) {
      this.#stage = stage;
      if (!this.#redraws) {
        this.#screen.write(`  ${stage}\n`);
      }
    }
  }

  #showNode(id: string, progress: NodeProgress): void {
    const before = this.#nodes.get(id);
    this.#nodes.set(id, { name: before?.name ?? progress.class_type ?? '', progress });
    if (!this.#redraws && before?.progress.state !== progress.state) {
      this.#screen.write(`  ${percent(this.#overall)}  node ${id} ${before?.name ?? ''}: ${progress.state}\n`);
    }
  }

  #redraw(): void {
    if (!this.#redraws) {
      return;
    }
    const up = this.#drawn === 0 ? '' : `\u001b[${this.#drawn}A`;
    const lines = this.lines();
    this.#screen.write(up + lines.map((line) => `\u001b[2K${line}\n`).join(''));
    this.#drawn = lines.length;
  }

  /** The picture as text: one line for the job, one for every node. */
  lines(): string[] {
    const width = Math.max(0, ...[...this.#nodes.values()].map(({ name }) => name.length));
    const nodes = [...this.#nodes].map(
      ([id, { name, progress }]) =>
        `  ${id.padStart(3)} ${name.padEnd(width)} ${bar(shareOf(progress))} ${progress.state}`,
    );
    return [`  ${percent(this.#overall)} ${this.#stage}`, ...nodes];
  }
}

/** How much of a node is done, from 0 to 1. */
function shareOf({ state, value, max }: NodeProgress): number {
  if (state === 'finished' || state === 'cached') {
    return 1;
  }
  return state === 'running' && value !== undefined && max !== undefined && max > 0 ? Math.min(1, value / max) : 0;
}

function bar(share: number): string {
  const full = Math.round(share * BAR_WIDTH);
  return FULL.repeat(full) + EMPTY.repeat(BAR_WIDTH - full);
}

function percent(share: number): string {
  return `${Math.floor(share * 100)} %`.padStart(5);
}
