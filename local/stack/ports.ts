import { createServer } from 'node:net';
import { type Outcome, done, failure } from './outcome.ts';

const LOOPBACK = '127.0.0.1';

/**
 * The range of free ports. A port is free between the check and the moment a program binds it, so no other program may get
 * it meanwhile: the range is below that of outgoing connections (32768 and up on Linux), and each process has a block of its
 * own among any 600 consecutive process ids.
 */
const FREE_PORTS = { first: 20_000, blocks: 600, block: 20 };

let checked = 0;

/** A requested port, its purpose, and the variable that changes it. */
export interface PortRequest {
  port: number;
  purpose: string;
  variable: string;
}

/** Answers the port to use: the wished one if nothing listens there, any free one when the wish is 0. */
export async function claimPort(wish: PortRequest): Promise<Outcome<number>> {
  if (wish.port === 0) {
    return claimAnyPort();
  }
  const bound = await tryListen(wish.port);
  if (bound === null) {
    return done(wish.port);
  }
  if (bound === 'EADDRINUSE') {
    return failure(
      `Port ${wish.port} (${wish.purpose}) is in use. Stop what listens there, or choose another: ${wish.variable}=<port> in front of the command.`,
    );
  }
  return failure(
    `Port ${wish.port} (${wish.purpose}) cannot be used: ${bound}. Choose another: ${wish.variable}=<port> in front of the command.`,
  );
}

/** The next port of this process's block that nothing listens on; the same one is not offered twice in a row. */
async function claimAnyPort(): Promise<Outcome<number>> {
  const { first, blocks, block } = FREE_PORTS;
  const start = (process.pid % blocks) * block;
  for (let tries = 0; tries < blocks * block; tries += 1) {
    const port = first + ((start + checked) % (blocks * block));
    checked += 1;
    if ((await tryListen(port)) === null) {
      return done(port);
    }
  }
  return failure(`No port from ${first} to ${first + blocks * block - 1} is free. Stop what listens there.`);
}

/** Reads a port from an environment variable; the default when it is not set. */
export function portFrom(value: string | undefined, fallback: number, variable: string): Outcome<number> {
  if (value === undefined || value === '') {
    return done(fallback);
  }
  const port = Number(value);
  return Number.isInteger(port) && port >= 0 && port <= 65_535
    ? done(port)
    : failure(`${variable} is "${value}", not a port. Give a number from 1 to 65535, or 0 for any free port.`);
}

/** Null if the port could be bound for a moment, else the code of the error. */
async function tryListen(port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host: LOOPBACK, exclusive: true }, () => {
      server.close(() => resolve(null));
    });
  });
}
