import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { valueOf } from './outcome.ts';
import { claimPort, portFrom } from './ports.ts';

const WISH = { purpose: 'gateway', variable: 'GATEWAY_PORT' };

test('claimPort returns a free port unchanged', async () => {
  const port = valueOf(await claimPort({ ...WISH, port: 0 }));
  expect(port).toBeGreaterThan(0);
  expect(await claimPort({ ...WISH, port })).toEqual({ ok: true, value: port });
});

test('claimPort(0) returns a new port each time, outside the range of outgoing connections', async () => {
  const ports = [];
  for (let count = 0; count < 5; count += 1) {
    ports.push(valueOf(await claimPort({ ...WISH, port: 0 })));
  }
  expect(new Set(ports).size).toBe(5);
  expect(Math.max(...ports)).toBeLessThan(32_768);
});

test('claimPort of a busy port names its purpose and the variable to change', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  expect(await claimPort({ ...WISH, port })).toEqual({
    ok: false,
    details: [],
    message: `Port ${port} (gateway) is in use. Stop what listens there, or choose another: GATEWAY_PORT=<port> in front of the command.`,
  });
});

test.each(['80a', '-1', '65536', '1.5', 'http'])('GATEWAY_PORT=%s is rejected', (value) => {
  expect(portFrom(value, 8787, 'GATEWAY_PORT')).toMatchObject({
    ok: false,
    message: expect.stringContaining(`GATEWAY_PORT is "${value}", not a port.`),
  });
});

test('an unset port variable gives the default', () => {
  expect(portFrom(undefined, 8787, 'GATEWAY_PORT')).toEqual({ ok: true, value: 8787 });
  expect(portFrom('', 8787, 'GATEWAY_PORT')).toEqual({ ok: true, value: 8787 });
  expect(portFrom('18500', 8787, 'GATEWAY_PORT')).toEqual({ ok: true, value: 18_500 });
});
