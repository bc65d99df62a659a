import { describe, expect, it } from 'vitest';
import type { RunRecord } from '../../../contract/run.ts';
import { UNKNOWN_TYPE } from '../../../contract/media-type.ts';
import { MAX_WARNINGS, outputTypeOf, Taken, takes, verdictOf, type TakenText } from './output.ts';

const sha256 = 'a'.repeat(64);
const png = (key = 'k1'): TakenText => ({
  kind: 'file',
  file: { key, size_bytes: 3, sha256, content_type: 'image/png' },
  head: 'iVBOR',
});
const url = (address: string): TakenText => ({ kind: 'url', url: address, head: address });
const neither = (head: string): TakenText => ({ kind: 'neither', head });
const taken = (text: TakenText): Taken => new Taken(text);

const completed = (output: unknown): RunRecord => ({
  status: 'completed',
  output,
  error: undefined,
  delay_ms: 1,
  execution_ms: 2,
  worker: 'w',
});
const failed = (error: unknown, output?: unknown): RunRecord => ({ ...completed(output), status: 'failed', error });
const verdict = (output: unknown, maxFiles = 10) => verdictOf(completed(output), maxFiles);
const image = (filename: string, text: TakenText) => ({ filename, type: 'base64', data: taken(text) });

describe('which texts are taken out of an answer', () => {
  it.each([
    [['output', 'images', 0, 'data'], 'file'],
    [['output', 'images', 7, 'image'], 'file'],
    [['output', 'images', 0], 'file'],
    [['output', 'videos', 0, 'data'], 'file'],
    [['output', 'text', 0, 'data'], 'text'],
    [['output', 'message'], 'file'],
    [['output', 'images', 0, 'filename'], null],
    [['output', 'images', 0, 'data', 'x'], null],
    [['output', 'errors', 0], null],
    [['output', 'status'], null],
    [['output', 'images'], null],
    [['output'], null],
    [['error'], null],
    [['input', 'images', 0, 'image'], null],
    [['status'], null],
    [[], null],
  ])('%j: %s', (path, how) => {
    expect(takes(path)).toBe(how);
  });
});

describe('a success', () => {
  it('in the newer shape has a file for each image, by its name', () => {
    const { files, error } = verdict({
      images: [image('a.png', png('k1')), image('b.png', url('https://s3.test/b.png?X=1'))],
    });
    expect(error).toBeNull();
    expect(files).toEqual([
      {
        name: 'a.png',
        node_id: '',
        class_type: '',
        source: { kind: 'file', file: expect.objectContaining({ key: 'k1' }) },
      },
      { name: 'b.png', node_id: '', class_type: '', source: { kind: 'url', url: 'https://s3.test/b.png?X=1' } },
    ]);
  });

  it('in the older shape has one file, named by what it is or where it lies', () => {
    expect(verdict({ status: 'success', message: taken(png()) })).toMatchObject({
      error: null,
      files: [{ name: 'output.png' }],
    });
    expect(verdict({ status: 'success', message: taken(url('https://s3.test/job/a%20b.png?X-Amz=1')) })).toMatchObject({
      error: null,
      files: [{ name: 'a b.png' }],
    });
  });

  it('of worker-gpu without a gateway has every kind of file, and the node each came from', () => {
    const { files, error } = verdict({
      images: [],
      videos: [{ filename: 'v.mp4', type: 'base64', data: taken(png()), node_id: '9', class_type: 'SaveVideo' }],
      text: [{ filename: 't.txt', type: 'text', data: taken(png()) }],
    });
    expect(error).toBeNull();
    expect(files).toMatchObject([{ name: 'v.mp4', node_id: '9', class_type: 'SaveVideo' }, { name: 't.txt' }]);
  });

  it('with warnings beside its images stays one, and tells them', () => {
    expect(
      verdict({ images: [image('a.png', png())], errors: ['Failed to fetch image data for b.png from /view'] }),
    ).toMatchObject({
      error: null,
      files: [{ name: 'a.png' }],
      warnings: [expect.stringContaining('Failed to fetch image data for b.png')],
    });
  });

  it('tells MAX_WARNINGS warnings, and how many more there were', () => {
    const errors = Array.from({ length: MAX_WARNINGS + 7 }, (_, index) => `warning ${index}`);
    const { warnings, error } = verdict({ images: [image('a.png', png())], errors });
    expect(error).toBeNull();
    expect(warnings).toHaveLength(MAX_WARNINGS + 1);
    expect(warnings.at(-1)).toBe('7 more warnings are left out.');
  });

  it.each([
    ['../../etc/passwd', 'passwd'],
    ['C:\\out\\a.png', 'a.png'],
    ['sub/folder/a.png', 'a.png'],
    ['a\u0000\n.png', 'a.png'],
    ['..', 'output.png'],
    ['', 'output.png'],
    [`${'é'.repeat(200)}.png`, 'output.png'],
    [7, 'output.png'],
  ])('takes nothing of a name but a file’s: %j', (filename, name) => {
    expect(verdict({ images: [{ filename, type: 'base64', data: taken(png()) }] }).files).toMatchObject([{ name }]);
  });

  it('keeps files apart that come by one name', () => {
    const names = verdict({ images: [1, 2, 3].map((key) => image('a.png', png(`k${key}`))) }).files.map(
      ({ name }) => name,
    );
    expect(names).toEqual(['a.png', 'a-2.png', 'a-3.png']);
  });
});

describe('COMPLETED that is no success', () => {
  it.each([
    ['no output at all', undefined],
    ['null', null],
    ['an empty object', {}],
    ['a text', 'done'],
    ['a list', []],
    ['an empty list of images', { images: [] }],
    ['images without data', { images: [{ filename: 'a.png' }] }],
    ['images that are no list', { images: 'a.png' }],
    ['a message that is no picture', { status: 'success', message: taken(neither('all good')) }],
    [
      'a message that only looks like base64',
      {
        status: 'success',
        message: taken({
          ...png(),
          file: { key: 'k', size_bytes: 3, sha256, content_type: UNKNOWN_TYPE },
        } as TakenText),
      },
    ],
  ])('%s: output_missing', (_name, output) => {
    expect(verdict(output)).toMatchObject({
      files: [],
      error: { code: 'output_missing', at: 'worker', retryable: false },
    });
  });

  it('success_no_images says what that worker passes on', () => {
    expect(verdict({ status: 'success_no_images', images: [] }).error).toMatchObject({
      code: 'output_missing',
      message: expect.stringContaining('listed no pictures or videos'),
    });
  });

  it('an image that is neither base64 nor a URL is missing, and the others are kept', () => {
    expect(verdict({ images: [image('a.png', png()), image('b.png', neither('not base64!'))] })).toMatchObject({
      files: [{ name: 'a.png' }],
      error: { code: 'output_missing' },
    });
  });

  it('an error, in each of its places, is the job’s error', () => {
    for (const output of [
      { error: 'Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size' },
      {
        status: 'error',
        message: taken(neither('Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size')),
      },
      { errors: ['Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size'] },
      { images: [], errors: 'Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size' },
    ]) {
      expect(verdict(output).error).toEqual({
        code: 'execution_error',
        at: 'workflow',
        retryable: false,
        message: 'Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size',
        node: { id: '3', class_type: 'KSampler' },
      });
    }
  });

  it('an error after a picture was saved is a failure that keeps the picture', () => {
    expect(
      verdict({
        images: [image('a.png', png())],
        errors: ['Workflow execution error: Node Type: SaveImage, Node ID: 9, Message: disk full'],
      }),
    ).toMatchObject({ files: [{ name: 'a.png' }], error: { code: 'execution_error', node: { id: '9' } } });
  });

  it('has at most as many files as a job may have outputs', () => {
    const images = [1, 2, 3].map((key) => image(`${key}.png`, png(`k${key}`)));
    expect(verdict({ images }, 3).error).toBeNull();
    expect(verdict({ images }, 2).error).toMatchObject({ code: 'output_too_large', retryable: false });
  });

  it('cannot pass a plain value off as a stored file', () => {
    const forged = {
      kind: 'file',
      file: { key: 'outputs/other/secret', size_bytes: 1, sha256, content_type: 'image/png' },
    };
    expect(verdict({ images: [{ filename: 'a.png', data: { text: forged } }, { text: forged }] })).toMatchObject({
      files: [],
      error: { code: 'output_missing' },
    });
  });
});

describe('FAILED', () => {
  it.each([
    ['Workflow validation failed: 3: value not in list', 'invalid_workflow', 'workflow', false],
    [
      'Error queuing workflow: 500 Server Error for url: http://127.0.0.1:8188/prompt',
      'invalid_workflow',
      'workflow',
      false,
    ],
    [
      'Workflow execution error: Node Type: VAEDecode, Node ID: 8, Message: CUDA out of memory. Tried 2 GiB',
      'out_of_memory',
      'worker',
      true,
    ],
    ['Failed to upload one or more input images', 'input_fetch_failed', 'worker', true],
    ['ComfyUI server (127.0.0.1:8188) not reachable after multiple retries.', 'comfyui_unavailable', 'worker', true],
    ['HTTP communication error with ComfyUI: refused', 'comfyui_unavailable', 'worker', true],
    ['worker w1 was lost: exited with code 3', 'worker_lost', 'worker', true],
    ['job timed out after 1 retries', 'worker_lost', 'worker', true],
    ['WebSocket communication error: Connection closed', 'comfyui_unavailable', 'worker', true],
    ['Error queuing workflow: HTTPConnectionPool: refused', 'comfyui_unavailable', 'worker', true],
    ['Prompt ID 0192 not found in history after execution.', 'comfyui_unavailable', 'worker', true],
    ['Job processing failed', 'execution_error', 'worker', false],
  ])('"%s" is %s', (error, code, at, retryable) => {
    expect(verdictOf(failed(error), 10).error).toMatchObject({ code, at, retryable });
  });

  it.each([
    ['ComfyUI server (127.0.0.1:8188) not reachable after multiple retries.', false],
    ['Failed to upload one or more input images', false],
    ['WebSocket communication error: Connection closed', undefined],
  ])('"%s" tells whether the graph began', (error, ran) => {
    expect(verdictOf(failed(error), 10).error?.ran).toBe(ran);
  });

  it.each([
    ['No outputs found in history for prompt 0192.', 'output_missing'],
    ['Failed to fetch image data for a.png from /view endpoint.', 'output_missing'],
    ['Error uploading a.png to S3: no such bucket', 'upload_failed'],
  ])('with "%s" as its only detail is %s', (detail, code) => {
    expect(verdictOf(failed('Job processing failed', { details: [detail] }), 10).error).toMatchObject({ code });
  });

  it('adds the details that stand beside the error', () => {
    expect(
      verdictOf(failed('Job processing failed', { details: ['node 4 produced nothing'] }), 10).error?.message,
    ).toBe('Job processing failed node 4 produced nothing');
  });

  it('with an exception’s JSON gives its message and nothing of its host or trace', () => {
    const error = JSON.stringify({
      error_type: "<class 'ValueError'>",
      error_message: 'bad value in /comfyui/models/checkpoints/sd.safetensors',
      error_traceback: 'Traceback (most recent call last):\n  File "/handler.py", line 3',
      hostname: 'pod-abc-64410d2b',
      worker_id: 'abc',
    });
    for (const text of [error, error.slice(0, 200)]) {
      const { message } = verdictOf(failed(text), 10).error ?? { message: '' };
      expect(message).toBe('bad value in sd.safetensors');
    }
  });

  it('of worker-gpu without a gateway is already in our words', () => {
    const output = {
      code: 'model_missing',
      message: 'no /models/x.safetensors',
      at: 'workflow',
      retryable: false,
      node: { id: '4', class_type: 'L' },
    };
    const read = { ...output, message: taken(neither(output.message)), prompt_id: 'p', timings: {} };
    expect(verdictOf(failed('model_missing: no x', read), 10).error).toEqual({
      ...output,
      message: 'no x.safetensors',
    });
  });

  it('that says nothing is still an error', () => {
    for (const error of [undefined, null, '', {}, 7, '{"broken']) {
      expect(verdictOf(failed(error), 10).error).toMatchObject({
        code: 'execution_error',
        message: expect.stringMatching(/\w/),
      });
    }
  });
});

describe('the kind of an output', () => {
  it.each([
    ['image/png', 'image'],
    ['video/mp4', 'video'],
    ['audio/flac', 'audio'],
    ['text/plain; charset=utf-8', 'text'],
    ['application/json', 'text'],
    ['model/gltf-binary', '3d'],
    ['application/x-safetensors', 'latent'],
    [UNKNOWN_TYPE, 'file'],
  ])('%s is %s', (type, kind) => {
    expect(outputTypeOf(type)).toBe(kind);
  });
});
