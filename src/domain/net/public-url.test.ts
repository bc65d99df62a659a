import { describe, expect, it } from 'vitest';
import { isPublicIpv6, parseIpv6 } from './address.ts';
import { MAX_URL_CHARS, publicUrl } from './public-url.ts';

const GATEWAY = 'https://gateway.acme.com';
const allowed = (text: string, gateway = GATEWAY): boolean => publicUrl(text, gateway).ok;

describe('a public URL', () => {
  it.each([
    'https://hooks.acme.com/comfy',
    'https://hooks.acme.com',
    'https://hooks.acme.com:443/',
    'https://hooks.acme.com:8443/?a=b@c#d',
    'https://HOOKS.Acme.COM/',
    'https://hooks.acme.com./',
    'https://acme.com/',
    'https://xn--bcher-kva.ch/',
    'https://bücher.ch/',
    'https://1.1.1.1/',
    'https://8.8.8.8/x',
    'https://100.63.255.255/',
    'https://100.128.0.0/',
    'https://172.15.255.255/',
    'https://172.32.0.0/',
    'https://198.17.255.255/',
    'https://198.20.0.0/',
    'https://223.255.255.255/',
    'https://[2606:4700:4700::1111]/',
    'https://[2a00:1450:4001:81b::200e]:8443/',
    'https://[2001:200::1]/',
    'https://[2001:db7:ffff::1]/',
    'https://[2001:db9::1]/',
    'https://[2003::1]/',
    'https://[2620:4f:7fff:ffff::1]/',
    'https://[2620:4f:8001::1]/',
    'https://[3ffe:ffff::1]/',
    'https://[3fff:1000::1]/',
    'https://local.acme.com/',
    'https://gateway.acme.com.evil.net/',
    'https://notgateway.acme.com/',
    'https://hooks.acme.com/a/@b',
  ])('is accepted: %s', (url) => {
    expect(allowed(url)).toBe(true);
  });
});

/** URLs with which a client could make the gateway call an internal service. */
const REFUSED: Record<string, string[]> = {
  'is not an absolute https URL': [
    '',
    'hooks.acme.com',
    '/hooks',
    '//hooks.acme.com',
    'http://hooks.acme.com',
    'ftp://hooks.acme.com',
    'file:///etc/passwd',
    'data:text/plain,hi',
    'javascript:alert(1)',
    'gopher://hooks.acme.com',
    'wss://hooks.acme.com',
    'https://',
    'https:///',
    'https://?x',
    'https://%',
    'https://a b.com',
  ],
  'contains characters that parsers drop': [
    ' https://hooks.acme.com',
    'https://hooks.acme.com ',
    'https://hooks\t.acme.com',
    'https://hooks.acme.com/\r\nx: y',
    'https://hooks.acme.com\\@127.0.0.1/',
    'https://hooks.acme.com/\u0000',
  ],
  'contains a user name': [
    'https://user@hooks.acme.com',
    'https://user:pass@hooks.acme.com',
    'https://:pass@hooks.acme.com',
    'https://@hooks.acme.com',
    'https://hooks.acme.com@127.0.0.1',
    'https://127.0.0.1@hooks.acme.com',
  ],
  'has an unusual port': [
    'https://hooks.acme.com:22',
    'https://hooks.acme.com:25',
    'https://hooks.acme.com:80',
    'https://hooks.acme.com:6379',
    'https://hooks.acme.com:8080',
    'https://hooks.acme.com:0',
    'https://hooks.acme.com:65535',
    'https://hooks.acme.com:65536',
  ],
  'points to loopback': [
    'https://127.0.0.1',
    'https://127.1',
    'https://127.255.255.254',
    'https://localhost',
    'https://LOCALHOST',
    'https://localhost.',
    'https://app.localhost',
    'https://localhost.localdomain',
    'https://[::1]',
    'https://[0:0:0:0:0:0:0:1]',
  ],
  'has another notation of an address': [
    'https://2130706433',
    'https://0x7f000001',
    'https://0x7f.0.0.1',
    'https://0177.0.0.1',
    'https://017700000001',
    'https://127.0.0.1.',
    'https://127.0.1',
    'https://0',
    'https://3232235777',
    'https://0xa9fea9fe',
    'https://１２７.０.０.１',
    'https://①②⑦.⓪.⓪.①',
    'https://127。0。0。1',
    'https://%31%32%37.0.0.1',
    'https://256.256.256.256',
  ],
  'points to a private network': [
    'https://10.0.0.1',
    'https://10.255.255.255',
    'https://172.16.0.1',
    'https://172.31.255.255',
    'https://192.168.0.1',
    'https://192.168.255.255',
    'https://[fc00::1]',
    'https://[fdff:ffff::1]',
    'https://[fec0::1]',
  ],
  'points to a metadata service or a link-local address': [
    'https://169.254.169.254/latest/meta-data',
    'https://169.254.0.1',
    'https://[fe80::1]',
    'https://[febf::1]',
    'https://[fd00:ec2::254]',
    'https://metadata.google.internal',
  ],
  'points to a reserved network': [
    'https://0.0.0.0',
    'https://0.1.2.3',
    'https://100.64.0.1',
    'https://100.127.255.255',
    'https://192.0.0.1',
    'https://192.0.0.9',
    'https://192.0.0.255',
    'https://192.0.2.1',
    'https://192.31.196.1',
    'https://192.52.193.1',
    'https://192.88.99.1',
    'https://192.175.48.1',
    'https://198.18.0.1',
    'https://198.19.255.255',
    'https://198.51.100.1',
    'https://203.0.113.1',
    'https://224.0.0.1',
    'https://239.255.255.255',
    'https://240.0.0.1',
    'https://255.255.255.255',
    'https://[::]',
    'https://[100::1]',
    'https://[100:0:0:1::1]',
    'https://[2001::1]',
    'https://[2001:1::1]',
    'https://[2001:1::2]',
    'https://[2001:1::3]',
    'https://[2001:2::1]',
    'https://[2001:3::1]',
    'https://[2001:4:112::1]',
    'https://[2001:10::1]',
    'https://[2001:20::1]',
    'https://[2001:30::1]',
    'https://[2001:1ff:ffff::1]',
    'https://[2001:db8::1]',
    'https://[2001:db8:ffff:ffff::1]',
    'https://[2620:4f:8000::1]',
    'https://[2620:4f:8000:ffff:ffff:ffff:ffff:ffff]',
    'https://[3fff::1]',
    'https://[3fff:fff:ffff::1]',
    'https://[ff02::1]',
    'https://[5f00::1]',
  ],
  'contains an IPv4 address in an IPv6 address': [
    'https://[::ffff:127.0.0.1]',
    'https://[::ffff:7f00:1]',
    'https://[::ffff:10.0.0.1]',
    'https://[::ffff:169.254.169.254]',
    'https://[::ffff:8.8.8.8]',
    'https://[::127.0.0.1]',
    'https://[64:ff9b::7f00:1]',
    'https://[64:ff9b:1::7f00:1]',
    'https://[2002:7f00:1::]',
    'https://[2001:0:7f00:1::]',
  ],
  'has an internal name': [
    'https://intranet',
    'https://hooks',
    'https://printer.local',
    'https://db.internal',
    'https://db.internal.',
    'https://x.corp',
    'https://nas.lan',
    'https://router.home',
    'https://router.home.arpa',
    'https://1.0.0.127.in-addr.arpa',
    'https://a.test',
    'https://a.invalid',
    'https://a.example',
    'https://a.onion',
    'https://.acme.com',
    'https://acme..com',
    'https://acme.com..',
  ],
  'points to the gateway itself': [
    'https://gateway.acme.com',
    'https://gateway.acme.com/v1/jobs',
    'https://gateway.acme.com:8443',
    'https://GATEWAY.ACME.COM',
    'https://gateway.acme.com.',
    'https://preview.gateway.acme.com',
  ],
};

describe.each(Object.entries(REFUSED))('a URL that %s', (_kind, urls) => {
  it.each(urls)('is rejected: %s', (url) => {
    expect(allowed(url)).toBe(false);
  });
});

describe('the length of a URL', () => {
  const long = (chars: number) => `https://hooks.acme.com/${'a'.repeat(chars - 'https://hooks.acme.com/'.length)}`;

  it('may be at most MAX_URL_CHARS', () => {
    expect(allowed(long(MAX_URL_CHARS))).toBe(true);
    expect(allowed(long(MAX_URL_CHARS + 1))).toBe(false);
  });
});

describe('a URL for a gateway on loopback', () => {
  const LOCAL = 'http://127.0.0.1:8787';

  it.each([
    'http://127.0.0.1:9000/hook',
    'http://localhost:3000',
    'https://localhost:8443',
    'http://[::1]:9000',
    'http://127.0.0.1',
  ])('is accepted on loopback: %s', (url) => {
    expect(allowed(url, LOCAL)).toBe(true);
    expect(allowed(url, 'http://localhost:8787')).toBe(true);
    expect(allowed(url)).toBe(false);
  });

  it.each([
    'http://127.0.0.1:8787/v1/jobs',
    'http://localhost:8787',
    'http://[::1]:8787',
    'http://hooks.acme.com',
    'http://10.0.0.1',
    'https://192.168.0.1',
    'http://169.254.169.254',
    'http://user@127.0.0.1:9000',
    'http://0.0.0.0:9000',
  ])('is rejected: %s (gateway on loopback)', (url) => {
    expect(allowed(url, LOCAL)).toBe(false);
  });
});

describe('an IPv6 address', () => {
  it.each([
    '',
    ':',
    ':::',
    '1',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1::2::3',
    '12345::',
    'g::',
    'fe80::1%eth0',
    '1:2:3:4:5:6:7:8::',
  ])('is not parsed from %j', (text) => {
    expect(parseIpv6(text)).toBeNull();
  });

  it('is parsed in every notation', () => {
    expect(parseIpv6('2606:4700:4700::1111')).toEqual([0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111]);
    expect(parseIpv6('::ffff:1.2.3.4')).toEqual([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304]);
    expect(isPublicIpv6([0x3ffe, 0, 0, 0, 0, 0, 0, 1])).toBe(true);
    expect(isPublicIpv6([0x4000, 0, 0, 0, 0, 0, 0, 1])).toBe(false);
  });
});
