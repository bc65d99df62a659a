import { createServer } from 'node:net';
import { type Outcome, done, failure } from './outcome.ts';

const LOOPBACK = '127.0.0.1';

/**
 * Where a free port is looked for. Between the look and the moment a program binds the port nobody holds it, so it must be one that
 * nobody else takes meanwhile: below the range the system gives to outgoing connections (32768 and up on Linux), and in a block
 * that belongs to this process alone among any 600 that follow each other.
 */
const FREE_PORTS = { first: 20_000, blocks: 600, block: 20 };

let looked = 0;

/** A port somebody asked for: what it is for and which variable changes it. */
export interface PortWish {
  port: number;
  purpose: string;
  variable: string;
}

/** Answers the port to use: the wished one if nothing listens there, any free one when the wish is 0. */
export async function claimPort(wish: PortWish): Promise<Outcome<number>> {
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
    const port = first + ((start + looked) % (blocks * block));
    looked += 1;
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
