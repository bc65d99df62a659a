import { expect, test } from 'vitest';
import type { JobEvent } from '../../clients/sdk/index.ts';
import { NodeProgressBars, type Screen } from './progress.ts';

const WORKFLOW = { '1': { class_type: 'LoadImage' }, '2': { class_type: 'SaveImage' } };

function screen(terminal: { rows: number } | null): Screen & { text: string } {
  const written = {
    text: '',
    isTerminal: terminal !== null,
    rows: terminal?.rows ?? 0,
    write(text: string) {
      written.text += text;
    },
  };
  return written;
}

const AT = '2026-01-02T03:04:05.678Z';
const EVENTS: JobEvent[] = [
  { event: 'status', id: 1, data: { status: 'running', stage: 'executing', attempt: 1, at: AT } },
  {
    event: 'progress',
    id: 2,
    data: { value: 0.25, nodes_done: 0, nodes_total: 2, nodes: { '1': { state: 'running', value: 1, max: 2 } } },
  },
  {
    event: 'progress',
    id: 3,
    data: { value: 0.5, nodes_done: 1, nodes_total: 2, nodes: { '1': { state: 'finished' } } },
  },
  { event: 'status', id: 4, data: { status: 'succeeded', stage: null, attempt: 1, at: AT } },
];

test('progress without a terminal prints a line for every change', () => {
  const target = screen(null);
  const bars = new NodeProgressBars(WORKFLOW, target);
  for (const event of EVENTS) {
    bars.show(event);
  }
  expect(target.text).toBe(
    [
      '  executing',
      '   25 %  node 1 LoadImage: running',
      '   50 %  node 1 LoadImage: finished',
      '  succeeded',
      '',
    ].join('\n'),
  );
});

test('progress on a terminal redraws its bars in place', () => {
  const target = screen({ rows: 24 });
  const bars = new NodeProgressBars(WORKFLOW, target);
  for (const event of EVENTS.slice(0, 2)) {
    bars.show(event);
  }
  expect(bars.lines()).toEqual([
    '   25 % executing',
    '    1 LoadImage ██████████░░░░░░░░░░ running',
    '    2 SaveImage ░░░░░░░░░░░░░░░░░░░░ pending',
  ]);
  // Three lines the first time; the second time up three, and over them.
  expect(target.text.split('\u001b[3A')).toHaveLength(2);
  expect(target.text.split('\n')).toHaveLength(7);
});

test('progress on a terminal with too few rows prints lines', () => {
  const target = screen({ rows: 3 });
  new NodeProgressBars(WORKFLOW, target).show({
    event: 'status',
    id: 1,
    data: { status: 'queued', stage: 'capacity', attempt: 0, at: AT },
  });
  expect(target.text).toBe('  capacity\n');
});
