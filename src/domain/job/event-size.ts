import type { EventBody } from '../../contract/events.ts';
import type { JobError, JobView, Output, Progress } from '../../contract/job.ts';
import { jsonBytes } from './size.ts';

/**
 * The largest event that a watcher receives, in bytes, because clients limit their buffers (reference/http-api.md
 * section 8). Other routes return the parts that are left out (docs/reference/events.md).
 */
export const MAX_EVENT_BYTES = 64 * 1024;

/** Bytes that a route may add to an event: ISO times and links of the job. */
const ADDED_BYTES = 4 * 1024;
/**
 * Bytes that a route adds to an output besides its name in a link: an origin of at most 262 characters (RFC 1035), and
 * a path.
 */
const LINK_BYTES = 400;
/** A byte of a name takes up to three bytes in a link. */
const LINK_BYTES_PER_NAME_BYTE = 3;
const ROOM_BYTES = MAX_EVENT_BYTES - ADDED_BYTES;

/** Texts without another limit are cut to this many characters when an event has no room for them. */
const SHORT_CHARS = 200;

const encoder = new TextEncoder();
const linkBytes = ({ name }: Output): number => LINK_BYTES + LINK_BYTES_PER_NAME_BYTE * encoder.encode(name).byteLength;
const short = (text: string): string => text.slice(0, SHORT_CHARS);

/** Makes an event fit the limit by removing its least important parts first. */
export function fitEvent(event: EventBody): EventBody {
  const links = event.event === 'output' ? linkBytes(event.data) : 0;
  const fits = (tried: EventBody): boolean => jsonBytes(tried.data) + links <= ROOM_BYTES;
  if (fits(event)) {
    return event;
  }
  switch (event.event) {
    case 'progress': {
      const { nodes: _nodes, ...progress } = event.data;
      return firstFit(
        fits,
        { event: 'progress', data: progress },
        { event: 'progress', data: shortProgress(progress) },
      );
    }
    case 'output': {
      const { text: _text, ...output } = event.data;
      const data = { ...output, node_id: short(output.node_id), class_type: short(output.class_type) };
      return firstFit(fits, { event: 'output', data: output }, { event: 'output', data });
    }
    case 'status': {
      const { error, ...status } = event.data;
      if (error === undefined) {
        return event;
      }
      const without = withoutDetails(error);
      return firstFit(
        fits,
        { event: 'status', data: { ...status, error: without } },
        { event: 'status', data: { ...status, error: shortError(without) } },
      );
    }
    case 'log':
      return { event: 'log', data: { ...event.data, message: short(event.data.message) } };
  }
}

/** Returns the first event that fits, or else the last. */
function firstFit(fits: (event: EventBody) => boolean, first: EventBody, last: EventBody): EventBody {
  return fits(first) ? first : last;
}

type Cut = { name: string; make: (job: JobView) => JobView };

/** The parts that a snapshot leaves out, in this order, as far as necessary. */
const CUTS: readonly Cut[] = [
  {
    name: 'outputs.text',
    make: (job) => ({ ...job, outputs: job.outputs.map(({ text: _text, ...output }) => output) }),
  },
  {
    name: 'attempts.environment',
    make: (job) => ({ ...job, attempts: job.attempts.map((attempt) => ({ ...attempt, environment: null })) }),
  },
  {
    name: 'attempts.error',
    make: (job) => ({
      ...job,
      attempts: job.attempts.map((attempt) => ({
        ...attempt,
        error: attempt.error === null ? null : shortError(withoutDetails(attempt.error)),
      })),
    }),
  },
  {
    name: 'error.details',
    make: (job) => ({ ...job, error: job.error === null ? null : withoutDetails(job.error) }),
  },
  { name: 'outputs', make: (job) => ({ ...job, outputs: leading(job) }) },
  { name: 'resolved', make: (job) => ({ ...job, resolved: { seeds: [], overrides: [], clamped: [] } }) },
  { name: 'metadata', make: (job) => ({ ...job, metadata: {} }) },
  { name: 'error', make: (job) => ({ ...job, error: job.error === null ? null : shortError(job.error) }) },
  {
    name: 'progress',
    make: (job) => ({ ...job, progress: job.progress === null ? null : shortProgress(job.progress) }),
  },
];

/** Makes a job fit into a snapshot. `truncated` names the incomplete parts. */
export function fitSnapshot(job: JobView): JobView {
  let fitting = job;
  const truncated: string[] = [];
  let bytes = weightOf(job);
  for (const { name, make } of CUTS) {
    if (bytes <= ROOM_BYTES) {
      break;
    }
    const tried = make(fitting);
    const weight = weightOf(tried);
    if (weight < bytes) {
      truncated.push(name);
      fitting = tried;
      bytes = weight;
    }
  }
  return truncated.length === 0 ? job : { ...fitting, truncated };
}

const weightOf = (job: JobView): number =>
  jsonBytes(job) + job.outputs.reduce((sum, output) => sum + linkBytes(output), 0);

/** Returns the first outputs that fit besides the rest of the job; none when the rest alone is too large. */
function leading(job: JobView): Output[] {
  let room = ROOM_BYTES - jsonBytes({ ...job, outputs: [] });
  const end = job.outputs.findIndex((output) => {
    room -= jsonBytes(output) + 1 + linkBytes(output);
    return room < 0;
  });
  return end < 0 ? job.outputs : job.outputs.slice(0, end);
}

function withoutDetails({ details: _details, ...error }: JobError): JobError {
  return error;
}

function shortError({ node, message, ...error }: JobError): JobError {
  const cut = node === undefined ? {} : { node: { id: short(node.id), class_type: short(node.class_type) } };
  return { ...error, message: short(message), ...cut };
}

const shortProgress = ({ current_node, current_node_class, ...progress }: Progress): Progress => ({
  ...progress,
  current_node: current_node === null || current_node === undefined ? null : short(current_node),
  current_node_class:
    current_node_class === null || current_node_class === undefined ? null : short(current_node_class),
});
