import { describe, expect, it } from 'vitest';
import { progressOf } from './progress.ts';

describe('progressOf', () => {
  it('reads the steps of one node from a fork of worker-comfyui', () => {
    expect(progressOf({ type: 'progress', value: 5, max: 20, percent: 25, node: 3 })).toMatchObject({
      value: null,
      current_node: '3',
      step: 5,
      steps: 20,
    });
  });

  it('reads the progress of the whole graph from worker-gpu', () => {
    expect(
      progressOf({
        type: 'progress',
        percent: 41.5,
        value: 0.415,
        current_node: '5',
        step: 8,
        steps: 20,
        nodes_done: 3,
        nodes_total: 7,
      }),
    ).toEqual({
      value: 0.415,
      nodes_done: 3,
      nodes_total: 7,
      current_node: '5',
      current_node_class: null,
      step: 8,
      steps: 20,
      stage: null,
    });
  });

  it('reads a percentage', () => {
    expect(progressOf({ percent: 50 })).toMatchObject({ value: 0.5 });
  });

  it('reads a stage', () => {
    expect(progressOf({ type: 'stage', stage: 'models' })).toMatchObject({ stage: 'models', value: null });
  });

  it.each([
    undefined,
    null,
    'waiting',
    7,
    [],
    {},
    { value: 'x' },
    { value: -1 },
    { percent: 200 },
    { stage: 'lunch' },
    { type: 'output', filename: 'a' },
  ])('returns null for %j', (output) => {
    expect(progressOf(output)).toBeNull();
  });
});
