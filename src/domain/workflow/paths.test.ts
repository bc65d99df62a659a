import { describe, expect, it } from 'vitest';
import { COMPUTED, FLUX, HIRES, IMAGE_TO_IMAGE, SD15, SDXL, SERVICE, WAN } from '../../testing/graphs.ts';
import { pointersIn } from './graph.ts';
import { unsafeInputs } from './paths.ts';

const check = (class_type: string, input: string, value: unknown, allowUrls = false): string[] =>
  unsafeInputs({ '1': { class_type, inputs: { [input]: value } } }, allowUrls, pointersIn(['workflow'])).listed.map(
    ({ code, pointer }) => `${code} ${pointer}`,
  );

const PATHS = [
  '/etc/passwd',
  '/etc',
  ' /etc/passwd',
  '\\\\server\\share',
  'C:\\Windows\\win.ini',
  'c:/windows',
  '~/.ssh/id_rsa',
  '..',
  '../secret.png',
  'a/../../b.png',
  'a\\..\\b.png',
  'a/.. /b.png',
  'photo.png [output]',
  'photo.png [temp]',
  'photo.png[input]',
  'photo.png [OUTPUT] ',
  'a\0.png',
  'http://169.254.169.254/latest',
  'https://example.com/a.png',
  'file:///etc/passwd',
  'FILE:/etc/passwd',
  's3://bucket/key',
];

describe('a path-like input', () => {
  it.each(PATHS)('is rejected with its pointer for %j', (value) => {
    expect(check('LoadImage', 'image', value)).toEqual(['unsafe_input #/workflow/1/inputs/image']);
    expect(check('SaveImage', 'filename_prefix', value)).toHaveLength(1);
    expect(check('VHS_LoadVideoPath', 'anything', value)).toHaveLength(1);
  });

  it('is also rejected inside a list, an object or the wrapper', () => {
    expect(check('LoadImages', 'images', ['a.png', ['../b.png']])).toEqual([
      'unsafe_input #/workflow/1/inputs/images/1/0',
    ]);
    expect(check('LoadImage', 'image', { __value__: '/etc/passwd' })).toEqual([
      'unsafe_input #/workflow/1/inputs/image/__value__',
    ]);
  });

  it.each([
    'photo.png',
    'my photo (1).png',
    'sub/photo.png',
    'sdxl\\base.safetensors',
    'a..b.png',
    '...',
    'v1.5/x.ckpt',
    '%date:yyyy-MM-dd%/ComfyUI',
    'video/ComfyUI',
    'a [x].png',
    '',
    'ünïcode.png',
  ])('accepts %j', (value) => {
    expect(check('LoadImage', 'image', value)).toEqual([]);
    expect(check('SaveImage', 'filename_prefix', value)).toEqual([]);
    expect(check('CheckpointLoaderSimple', 'ckpt_name', value)).toEqual([]);
  });

  it.each([
    ['a JPEG in base64', '/9j/4AAQSkZJRgABAQEASABIAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoH'],
    ['a JPEG in base64 with line breaks', '/9j/2wBDAAMCAgMCAgMDAwMEAwME\r\nBQgFBQQEBQoHBQ=='],
    ['a sound in base64', `//uQ${'xAAAAAAAAAAAAAAAAAAAAAAA'.repeat(200)}`],
  ])('accepts %s', (_title, value) => {
    expect(check('ETN_LoadImageBase64', 'image', value)).toEqual([]);
    expect(check('PrimitiveString', 'value', value)).toEqual([]);
  });

  it('is checked in one pass despite a long run of blanks', () => {
    expect(check('LoadImage', 'image', `/A${' '.repeat(900_000)}!`)).toHaveLength(1);
    expect(check('LoadImage', 'image', `/9j/4AAQ${' '.repeat(900_000)}`)).toEqual([]);
  });

  it.each(['/9j/4.txt', '/9j', '/9j/etc/passwd', '//usr/share/dict/words', '/etc/passwd=='])(
    'that holds %j, which only looks like base64, is refused',
    (value) => {
      expect(check('LoadImage', 'image', value)).toHaveLength(1);
    },
  );

  it.each(['/view?filename=a.png&type=temp', '/api/view?filename=a.png&type=output&subfolder='])(
    'that holds %j, a file of ComfyUI by its URL, is refused',
    (value) => {
      expect(check('LoadImageFromUrl', 'url', value)).toHaveLength(1);
      expect(check('LoadImageFromUrl', 'url', { __value__: value })).toHaveLength(1);
      expect(check('LoadImages', 'images', [{ url: value }])).toHaveLength(1);
      expect(check('PrimitiveString', 'value', value)).toHaveLength(1);
    },
  );

  it('accepts the name of an input of the request, as the editor writes it', () => {
    const graph = { '1': { class_type: 'LoadImage', inputs: { image: 'clipspace/mask.png [input]' } } };
    const named = new Set(['clipspace/mask.png [input]']);
    expect(unsafeInputs(graph, false, pointersIn([]), named).listed).toEqual([]);
    expect(unsafeInputs(graph, false, pointersIn([])).listed).toHaveLength(1);
  });

  it('accepts a URL when the endpoint allows it, but never a file: URL', () => {
    expect(check('LoadImageFromUrl', 'url', 'https://example.com/a.png', true)).toEqual([]);
    expect(check('LoadImageFromUrl', 'url', 'file:///etc/passwd', true)).toHaveLength(1);
  });
});

describe('a display-only widget', () => {
  const left = { url: '/api/view?filename=rgthree.compare._temp_abcde_00001_.png&type=temp&subfolder=&rand=0.25' };

  it('is not checked, because no node reads it', () => {
    expect(check('Image Comparer (rgthree)', 'rgthree_comparer', { images: [left] })).toEqual([]);
    expect(check('Another Comparer', 'compared', { images: [left] })).toEqual([]);
    const params = { filename: 'a.mp4', type: 'output', fullpath: 'C:\\ComfyUI\\output\\a.mp4' };
    expect(check('VHS_VideoCombine', 'videopreview', { hidden: false, params })).toEqual([]);
  });
});

describe('a prompt input', () => {
  it.each(PATHS.filter((value) => !value.includes('\0')))('accepts %j', (value) => {
    expect(check('CLIPTextEncode', 'text', value)).toEqual([]);
  });

  it('rejects a NUL character', () => {
    expect(check('CLIPTextEncode', 'text', 'a\0b')).toHaveLength(1);
  });
});

describe('any other text input', () => {
  it.each(['/etc/passwd', '../x', 'C:\\x', 'file:///x', 'x.png [temp]'])(
    'that is plainly a path (%j) is refused: a link may carry it to a node that opens it',
    (value) => {
      expect(check('PrimitiveString', 'value', value)).toEqual(['unsafe_input #/workflow/1/inputs/value']);
    },
  );

  it.each(['/imagine a cat', 'see https://example.com', 'and/or', 'wait... what', '50/50'])('accepts %j', (value) => {
    expect(check('PrimitiveString', 'value', value)).toEqual([]);
  });
});

it('unsafeInputs ignores links', () => {
  expect(check('LoadImage', 'image', ['/etc/passwd', 0])).toEqual([]);
});

it('unsafeInputs accepts the fixture workflows', () => {
  for (const graph of [COMPUTED, FLUX, HIRES, IMAGE_TO_IMAGE, SD15, SDXL, SERVICE, WAN]) {
    expect(unsafeInputs(graph, false, pointersIn([])).listed).toEqual([]);
  }
});
