import { env } from 'cloudflare:workers';
import { describe, expect, it } from 'vitest';
import type { LogEntry } from '../../providers/log.ts';
import { ORIGIN, ownGateway } from '../../testing/gateway.ts';
import { readTraceparent } from './trace.ts';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const PARENT = '00f067aa0ba902b7';

/** A request with these headers: the id it is answered with, and its line in the log. */
async function traced(headers: Record<string, string>): Promise<{ id: string | null; line: LogEntry | undefined }> {
  const lines: LogEntry[] = [];
  const gateway = ownGateway({ log: (line) => lines.push(line) });
  const response = await gateway.fetch(new Request(`${ORIGIN}/v1/jobs`, { headers }), env);
  return { id: response.headers.get('x-request-id'), line: lines.find(({ event }) => event === 'request') };
}

describe('a trace', () => {
  it('is on the log line, and its id is that of the request', async () => {
    const { id, line } = await traced({ traceparent: `00-${TRACE}-${PARENT}-01` });
    expect(id).toBe(TRACE);
    expect(line).toMatchObject({ request_id: TRACE, trace_id: TRACE, parent_id: PARENT });
  });

  it('does not replace a request id of the client', async () => {
    const { id, line } = await traced({ traceparent: `00-${TRACE}-${PARENT}-01`, 'x-request-id': 'mine' });
    expect(id).toBe('mine');
    expect(line).toMatchObject({ request_id: 'mine', trace_id: TRACE });
  });

  it('is read from a later version', () => {
    expect(readTraceparent(`cc-${TRACE}-${PARENT}-01-more`)).toEqual({ trace_id: TRACE, parent_id: PARENT });
  });

  it.each([
    '',
    TRACE,
    `00-${TRACE}-${PARENT}`,
    `00-${TRACE}-${PARENT}-01-more`,
    `ff-${TRACE}-${PARENT}-01`,
    `00-${TRACE.toUpperCase()}-${PARENT}-01`,
    `00-${'0'.repeat(32)}-${PARENT}-01`,
    `00-${TRACE}-${'0'.repeat(16)}-01`,
    ` 00-${TRACE}-${PARENT}-01\n{"event":"forged"}`,
  ])('is left out when it is malformed: "%s"', async (traceparent) => {
    expect(readTraceparent(traceparent)).toBeNull();
  });

  it('does not change the response when it is malformed', async () => {
    const { id, line } = await traced({ traceparent: `00-${TRACE}-${PARENT}` });
    expect(id).toMatch(/^[0-9a-f-]{36}$/);
    expect(line).not.toHaveProperty('trace_id');
  });
});
