/** How often something is done: first to warm up, then to measure. */
export interface Rounds {
  warmUp: number;
  runs: number;
}

/** One thing measured several times, in milliseconds. */
export interface Row {
  what: string;
  /** What the median is to stay under; null where nothing was set. */
  aim: number | null;
  samples: readonly number[];
}

export const median = (samples: readonly number[]): number => {
  const sorted = samples.toSorted((a, b) => a - b);
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.ceil((sorted.length - 1) / 2)]];
  return ((low ?? Number.NaN) + (high ?? Number.NaN)) / 2;
};

/** A Markdown table, which is readable in a terminal too. */
export function table(rows: readonly Row[]): string {
  const cells = [
    ['ms', 'aim', 'median', 'min', 'max', 'runs'],
    ...rows.map(({ what, aim, samples }) => [
      what,
      aim === null ? '' : `≤ ${aim}`,
      median(samples).toFixed(1),
      Math.min(...samples).toFixed(1),
      Math.max(...samples).toFixed(1),
      String(samples.length),
    ]),
  ];
  return markdown(cells);
}

/** Cells as a Markdown table: the first row names the columns, the first column is text, the others are numbers. */
export function markdown(cells: readonly (readonly string[])[]): string {
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const lines = cells.map((row) => {
    const padded = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    return `| ${padded.join(' | ')} |`;
  });
  const rule = `| ${widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`)).join(' | ')} |`;
  return [lines[0], rule, ...lines.slice(1)].join('\n');
}
