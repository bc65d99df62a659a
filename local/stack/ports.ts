import { createServer } from 'node:net';
import { type Outcome, done, failure } from './outcome.ts';

const LOOPBACK = '127.0.0.1';

/** A port somebody asked for: what it is for and which variable changes it. */
export interface PortWish {
  port: number;
  purpose: string;
  variable: string;
}

/** Answers the port to use: the wished one if nothing listens there, any free one when the wish is 0. */
export async function claimPort(wish: PortWish): Promise<Outcome<number>> {
  const bound = await tryListen(wish.port);
  if (typeof bound === 'number') {
    return done(bound);
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

/** The port that was bound for a moment, or the code of the error. */
async function tryListen(port: number): Promise<number | string> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host: LOOPBACK, exclusive: true }, () => {
      const address = server.address();
      const bound = typeof address === 'object' && address !== null ? address.port : port;
      server.close(() => resolve(bound));
    });
  });
}
