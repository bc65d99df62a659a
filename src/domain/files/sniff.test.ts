import { describe, expect, it } from 'vitest';
import { sniff } from './sniff.ts';

const bytes = (latin1: string, length = latin1.length): Uint8Array => {
  const all = new Uint8Array(length);
  all.set(Uint8Array.from(latin1, (char) => char.charCodeAt(0)));
  return all;
};
const typeOf = (latin1: string, name?: string) => sniff(bytes(latin1), latin1.length, name);

describe('sniffing the first bytes', () => {
  it.each([
    ['\x89PNG\r\n\x1a\n....', 'image/png'],
    ['\xff\xd8\xff\xe0', 'image/jpeg'],
    ['GIF89a', 'image/gif'],
    ['RIFF....WEBPVP8 ', 'image/webp'],
    ['RIFF....WAVEfmt ', 'audio/wav'],
    ['RIFF....AVI LIST', 'video/x-msvideo'],
    ['II*\0....', 'image/tiff'],
    ['....ftypisom....', 'video/mp4'],
    ['....ftypqt  ....', 'video/quicktime'],
    ['....ftypM4A ....', 'audio/mp4'],
    ['....ftypavif....', 'image/avif'],
    ['....ftypheic....', 'image/heic'],
    ['\x1a\x45\xdf\xa3....B\x82\x84webm', 'video/webm'],
    ['\x1a\x45\xdf\xa3....B\x82\x88matroska', 'video/x-matroska'],
    ['OggS............OpusHead', 'audio/ogg'],
    ['OggS............\x80theora', 'video/ogg'],
    ['fLaC....', 'audio/flac'],
    ['ID3\x04....', 'audio/mpeg'],
    ['\xff\xfb\x90\x64', 'audio/mpeg'],
    ['\xff\xf1\x50\x80', 'audio/aac'],
    ['glTF\x02\0\0\0', 'model/gltf-binary'],
    ['ply\nformat ascii 1.0', 'model/ply'],
    ['Kaydara FBX Binary  \0\x1a\0', 'application/vnd.autodesk.fbx'],
    ['\x02\0\0\0\0\0\0\0{}', 'application/x-safetensors'],
    ['BM\x10\0\0\0..........', 'image/bmp'],
  ])('recognizes %j as %s', (content, type) => {
    expect(typeOf(content)).toBe(type);
  });

  it.each([
    '',
    'B',
    'BM',
    'BMW is a car',
    'RIFF',
    'RIFF....XXXX',
    '%PDF-1.7',
    'PK\x03\x04',
    'MZ',
    '\x7fELF',
    '<svg xmlns="http://www.w3.org/2000/svg"/>',
    '<!doctype html>',
    'hello',
    '\xff\xff\xff\xff',
    '\xff\xd8',
    '\xff\0\0\0\0\0\0\0{}',
  ])('does not recognize %j', (content) => {
    expect(typeOf(content, 'photo.png')).toBeNull();
  });
});

describe('sniffing text', () => {
  it('uses the extension if the content is text', () => {
    expect(typeOf('v 0 0 0\n', 'cube.obj')).toBe('model/obj');
    expect(typeOf('a,b\n', 'A.CSV')).toBe('text/csv; charset=utf-8');
    expect(typeOf('a cat', 'sub/a.txt [input]')).toBe('text/plain; charset=utf-8');
    expect(typeOf('a\0b', 'a.txt')).toBeNull();
    expect(typeOf('\xff\xfe', 'a.txt')).toBeNull();
    expect(typeOf('hello', 'txt')).toBeNull();
    expect(typeOf('hello', 'a.html')).toBeNull();
  });

  it('accepts text whose head ends within a character', () => {
    const long = new TextEncoder().encode('é'.repeat(3000)).subarray(0, 4095);
    expect(sniff(long, 6000, 'a.txt')).toBe('text/plain; charset=utf-8');
  });

  it('accepts a binary STL only if its size matches its count', () => {
    const stl = bytes('', 84 + 50);
    stl[80] = 1;
    expect(sniff(stl, stl.length, 'a.stl')).toBe('model/stl');
    expect(sniff(stl, stl.length + 1, 'a.stl')).toBeNull();
    expect(sniff(stl, stl.length, 'a.png')).toBeNull();
  });
});

describe('sniffing text that decoders read as another type', () => {
  it.each([
    ['a playlist of FFmpeg', 'ffconcat version 1.0\nfile a.png\n'],
    ['an HLS playlist', '#EXTM3U\n#EXTINF:10,\n/data/a.ts\n'],
    ['a DASH manifest', '<?xml version="1.0"?>\n<MPD type="static">'],
    ['a bitmap in text', 'P1\n# made by hand\n30000 30000\n1 0 1'],
    ['a grey picture', 'P5 30000 30000 255\naaa'],
    ['a picture of floats', 'PF\n3 3\n-1.0\n'],
    ['a PAM', 'P7\nWIDTH 30000\nHEIGHT 30000\n'],
    ['an XBM', '\n#define a_width 70000\n#define a_height 70000\n'],
    ['an XPM', '/* XPM */\nstatic char *a[] = {"9000 9000 1 1",'],
    ['a FITS', 'SIMPLE  =                    T'],
    ['an EPS', '%!PS-Adobe-3.0 EPSF-3.0'],
  ])('rejects %s', (_what, content) => {
    for (const name of ['a.txt', 'a.json', 'a.vtt', 'a.obj']) {
      expect(typeOf(content, name)).toBe(null);
    }
  });

  it.each(['P1 is the first prompt', '# define a mood', 'PF 3', 'a cat, <MPD>', 'ffconcat'])(
    'accepts text that only resembles such a type: %s',
    (content) => {
      expect(typeOf(content, 'a.txt')).toBe('text/plain; charset=utf-8');
    },
  );
});
