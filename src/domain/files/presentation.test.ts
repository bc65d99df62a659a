import { describe, expect, it } from 'vitest';
import { presentationOf, storedTypeOf } from './presentation.ts';

describe('storedTypeOf', () => {
  it.each([
    'text/html',
    'TEXT/HTML; charset=utf-8',
    'image/svg+xml',
    'application/xhtml+xml',
    'text/xml',
    'application/rss+xml',
    'text/javascript',
    'application/ecmascript',
    'text/xsl',
    'no type at all',
    '',
    'text/html\r\nx: y',
  ])('replaces a type that a browser might execute: %s', (type) => {
    expect(storedTypeOf(type)).toBe('application/octet-stream');
  });

  it.each(['image/png', 'video/mp4', 'model/gltf-binary', 'application/json', 'text/plain; charset=utf-8'])(
    'keeps the harmless type %s',
    (type) => {
      expect(storedTypeOf(type)).toBe(type);
    },
  );
});

describe('presentationOf', () => {
  it.each(['image/png', 'IMAGE/JPEG', 'video/mp4', 'audio/flac', 'audio/mpeg', 'text/plain; charset=utf-8'])(
    'displays %s inline',
    (type) => {
      expect(presentationOf({ name: 'a', content_type: type })).toMatchObject({ type, inline: true });
    },
  );

  it.each(['video/x+xml', 'audio/svg+xml', 'image/svg+xml', 'text/html', 'application/pdf', 'text/plain+xml', 'image'])(
    'does not display %s inline',
    (type) => {
      expect(presentationOf({ name: 'a', content_type: type })).toMatchObject({ inline: false });
    },
  );
});

it('the disposition is one header value for a name with quotes, controls and any letters', () => {
  const { disposition } = presentationOf({ name: 'a/b"\r\nx: y;ü\ud800.png', content_type: 'image/png' });
  expect(disposition).toMatch(/^inline; filename="[\x20-\x7e]+"; filename\*=UTF-8''[\w%.~!$&+^`|-]+$/);
  expect(disposition).not.toMatch(/[\r\n]/);
});
