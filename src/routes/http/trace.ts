/** A caller's trace, for log lines. */
export type Trace = { trace_id: string; parent_id: string };

/**
 * `traceparent` (W3C Trace Context section 3.2): version, trace id, parent id, flags. Later versions may append fields.
 */
const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;

/** The trace of a request; null without the header, or with a header that the specification ignores. */
export function readTraceparent(header: string | undefined): Trace | null {
  const [, version, trace_id, parent_id, more] = TRACEPARENT.exec(header ?? '') ?? [];
  return trace_id === undefined || parent_id === undefined || (version === '00' && more !== undefined)
    ? null
    : { trace_id, parent_id };
}
