import { redact } from '../lib/redact.ts';

/** One line of the gateway's log: JSON with an event name. It never contains a query string, body, key or token. */
export type LogEntry = { event: string } & Record<string, string | number | boolean | null | readonly string[]>;
export type Log = (entry: LogEntry) => void;

export const consoleLog: Log = (entry) => {
  // oxlint-disable-next-line no-console -- the platform's log is the console; this is the one place that writes to it
  console.log(JSON.stringify(entry, (_name, value: unknown) => (typeof value === 'string' ? redact(value) : value)));
};
