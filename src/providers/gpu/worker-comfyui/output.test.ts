import { describe, expect, it } from 'vitest';
import type { RunRecord } from '../../../contract/run.ts';
import { UNKNOWN_TYPE } from '../../../contract/media-type.ts';
import { MAX_WARNINGS, outputTypeOf, ExtractedText, sinkKindOf, parseRun, type TextContent } from './output.ts';

const sha256 = 'a'.repeat(64);
const png = (key = 'k1'): TextContent => ({
  kind: 'file',
  file: { key, size_bytes: 3, sha256, content_type: 'image/png' },
  head: 'iVBOR',
});
const url = (address: string): TextContent => ({ kind: 'url', url: address, head: address });
const other = (head: string): TextContent => ({ kind: 'other', head });
const extracted = (text: TextContent): ExtractedText => new ExtractedText(text);

const completed = (output: unknown): RunRecord => ({
  status: 'completed',
  output,
  error: undefined,
  delay_ms: 1,
  execution_ms: 2,
  worker: 'w',
});
const failed = (error: unknown, output?: unknown): RunRecord => ({ ...completed(output), status: 'failed', error });
const parsed = (output: unknown, maxFiles = 10) => parseRun(completed(output), maxFiles);
const image = (filename: string, text: TextContent) => ({ filename, type: 'base64', data: extracted(text) });

describe('sinkKindOf', () => {
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
  ])('maps %j to %s', (path, how) => {
    expect(sinkKindOf(path)).toBe(how);
  });
});

describe('a completed run of worker-comfyui', () => {
  it('has a named file for each image of the 5.x form', () => {
    const { files, error } = parsed({
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

  it('has one file of the older form, named after its type or its URL', () => {
    expect(parsed({ status: 'success', message: extracted(png()) })).toMatchObject({
      error: null,
      files: [{ name: 'output.png' }],
    });
    expect(
      parsed({ status: 'success', message: extracted(url('https://s3.test/job/a%20b.png?X-Amz=1')) }),
    ).toMatchObject({
      error: null,
      files: [{ name: 'a b.png' }],
    });
  });

  it('has files of every kind with their nodes from worker-gpu', () => {
    const { files, error } = parsed({
      images: [],
      videos: [{ filename: 'v.mp4', type: 'base64', data: extracted(png()), node_id: '9', class_type: 'SaveVideo' }],
      text: [{ filename: 't.txt', type: 'text', data: extracted(png()) }],
    });
    expect(error).toBeNull();
    expect(files).toMatchObject([{ name: 'v.mp4', node_id: '9', class_type: 'SaveVideo' }, { name: 't.txt' }]);
  });

  it('succeeds with warnings when it has images and errors', () => {
    expect(
      parsed({ images: [image('a.png', png())], errors: ['Failed to fetch image data for b.png from /view'] }),
    ).toMatchObject({
      error: null,
      files: [{ name: 'a.png' }],
      warnings: [expect.stringContaining('Failed to fetch image data for b.png')],
    });
  });

  it('has MAX_WARNINGS warnings and a count of the others', () => {
    const errors = Array.from({ length: MAX_WARNINGS + 7 }, (_, index) => `warning ${index}`);
    const { warnings, error } = parsed({ images: [image('a.png', png())], errors });
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
  ])('has only the last part of a file name: %j', (filename, name) => {
    expect(parsed({ images: [{ filename, type: 'base64', data: extracted(png()) }] }).files).toMatchObject([{ name }]);
  });

  it('has unique names for files with the same name', () => {
    const names = parsed({ images: [1, 2, 3].map((key) => image('a.png', png(`k${key}`))) }).files.map(
      ({ name }) => name,
    );
    expect(names).toEqual(['a.png', 'a-2.png', 'a-3.png']);
  });
});

describe('a COMPLETED run without success', () => {
  it.each([
    ['no output at all', undefined],
    ['null', null],
    ['an empty object', {}],
    ['a text', 'done'],
    ['a list', []],
    ['an empty list of images', { images: [] }],
    ['images without data', { images: [{ filename: 'a.png' }] }],
    ['images that are not a list', { images: 'a.png' }],
    ['a message that is not an image', { status: 'success', message: extracted(other('all good')) }],
    [
      'a message that only looks like base64',
      {
        status: 'success',
        message: extracted({
          ...png(),
          file: { key: 'k', size_bytes: 3, sha256, content_type: UNKNOWN_TYPE },
        } as TextContent),
      },
    ],
  ])('fails with output_missing for %s', (_name, output) => {
    expect(parsed(output)).toMatchObject({
      files: [],
      error: { code: 'output_missing', at: 'worker', retryable: false },
    });
  });

  it('fails with a hint for success_no_images', () => {
    expect(parsed({ status: 'success_no_images', images: [] }).error).toMatchObject({
      code: 'output_missing',
      message: expect.stringContaining('saved no images or videos'),
    });
  });

  it('keeps the other images when one is neither base64 nor a URL', () => {
    expect(parsed({ images: [image('a.png', png()), image('b.png', other('not base64!'))] })).toMatchObject({
      files: [{ name: 'a.png' }],
      error: { code: 'output_missing' },
    });
  });

  it('has the error from each place where worker-comfyui reports it', () => {
    for (const output of [
      { error: 'Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size' },
      {
        status: 'error',
        message: extracted(other('Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size')),
      },
      { errors: ['Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size'] },
      { images: [], errors: 'Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size' },
    ]) {
      expect(parsed(output).error).toEqual({
        code: 'execution_error',
        at: 'workflow',
        retryable: false,
        message: 'Workflow execution error: Node Type: KSampler, Node ID: 3, Message: bad size',
        node: { id: '3', class_type: 'KSampler' },
      });
    }
  });

  it('keeps an image that was saved before the error', () => {
    expect(
      parsed({
        images: [image('a.png', png())],
        errors: ['Workflow execution error: Node Type: SaveImage, Node ID: 9, Message: disk full'],
      }),
    ).toMatchObject({ files: [{ name: 'a.png' }], error: { code: 'execution_error', node: { id: '9' } } });
  });

  it('fails with output_too_large when it has more than maxFiles files', () => {
    const images = [1, 2, 3].map((key) => image(`${key}.png`, png(`k${key}`)));
    expect(parsed({ images }, 3).error).toBeNull();
    expect(parsed({ images }, 2).error).toMatchObject({ code: 'output_too_large', retryable: false });
  });

  it('rejects a JSON value that imitates a stored file', () => {
    const forged = {
      kind: 'file',
      file: { key: 'outputs/other/secret', size_bytes: 1, sha256, content_type: 'image/png' },
    };
    expect(parsed({ images: [{ filename: 'a.png', data: { text: forged } }, { text: forged }] })).toMatchObject({
      files: [],
      error: { code: 'output_missing' },
    });
  });
});

describe('a FAILED run', () => {
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
  ])('maps "%s" to %s', (error, code, at, retryable) => {
    expect(parseRun(failed(error), 10).error).toMatchObject({ code, at, retryable });
  });

  it.each([
    ['ComfyUI server (127.0.0.1:8188) not reachable after multiple retries.', false],
    ['Failed to upload one or more input images', false],
    ['WebSocket communication error: Connection closed', undefined],
  ])('states for "%s" whether the graph started', (error, ran) => {
    expect(parseRun(failed(error), 10).error?.ran).toBe(ran);
  });

  it.each([
    ['No outputs found in history for prompt 0192.', 'output_missing'],
    ['Failed to fetch image data for a.png from /view endpoint.', 'output_missing'],
    ['Error uploading a.png to S3: no such bucket', 'upload_failed'],
  ])('maps the detail "%s" to %s', (detail, code) => {
    expect(parseRun(failed('Job processing failed', { details: [detail] }), 10).error).toMatchObject({ code });
  });

  it('adds the details to the message of the error', () => {
    expect(parseRun(failed('Job processing failed', { details: ['node 4 produced nothing'] }), 10).error?.message).toBe(
      'Job processing failed node 4 produced nothing',
    );
  });

  it('has only the message of an exception, without its host and trace', () => {
    const error = JSON.stringify({
      error_type: "<class 'ValueError'>",
      error_message: 'bad value in /comfyui/models/checkpoints/sd.safetensors',
      error_traceback: 'Traceback (most recent call last):\n  File "/handler.py", line 3',
      hostname: 'pod-abc-64410d2b',
      worker_id: 'abc',
    });
    for (const text of [error, error.slice(0, 200)]) {
      const { message } = parseRun(failed(text), 10).error ?? { message: '' };
      expect(message).toBe('bad value in sd.safetensors');
    }
  });

  it('has the error of worker-gpu unchanged except for paths', () => {
    const output = {
      code: 'model_missing',
      message: 'no /models/x.safetensors',
      at: 'workflow',
      retryable: false,
      node: { id: '4', class_type: 'L' },
    };
    const read = { ...output, message: extracted(other(output.message)), prompt_id: 'p', timings: {} };
    expect(parseRun(failed('model_missing: no x', read), 10).error).toEqual({
      ...output,
      message: 'no x.safetensors',
    });
  });

  it('has a message even if RunPod reports none', () => {
    for (const error of [undefined, null, '', {}, 7, '{"broken']) {
      expect(parseRun(failed(error), 10).error).toMatchObject({
        code: 'execution_error',
        message: expect.stringMatching(/\w/),
      });
    }
  });
});

describe('outputTypeOf', () => {
  it.each([
    ['image/png', 'image'],
    ['video/mp4', 'video'],
    ['audio/flac', 'audio'],
    ['text/plain; charset=utf-8', 'text'],
    ['application/json', 'text'],
    ['model/gltf-binary', '3d'],
    ['application/x-safetensors', 'latent'],
    [UNKNOWN_TYPE, 'file'],
  ])('maps %s to %s', (type, kind) => {
    expect(outputTypeOf(type)).toBe(kind);
  });
});
