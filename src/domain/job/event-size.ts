import type { EventBody } from '../../contract/events.ts';
import type { JobError, JobView, Output, Progress } from '../../contract/job.ts';
import { jsonBytes } from './size.ts';

/**
 * What a watcher is sent at once: no event is longer than `MAX_EVENT_BYTES`, since clients bound what they buffer (reference/http-api.md
 * section 8). What is left out can be had elsewhere (docs/reference/events.md).
 */
export const MAX_EVENT_BYTES = 64 * 1024;

/** What a door may add to an event of ours: times written out, links of the job. */
const ADDED_BYTES = 4 * 1024;
/** What a door adds to an output, beside its name in a link: an origin has at most 262 characters (RFC 1035), the rest is a path. */
const LINK_BYTES = 400;
/** A byte of a name is up to three in a link. */
const LINK_BYTES_PER_NAME_BYTE = 3;
const ROOM_BYTES = MAX_EVENT_BYTES - ADDED_BYTES;

/** Texts that nothing else bounds are cut to this, in characters, where an event has no room for them. */
const SHORT_CHARS = 200;

const encoder = new TextEncoder();
const linkBytes = ({ name }: Output): number => LINK_BYTES + LINK_BYTES_PER_NAME_BYTE * encoder.encode(name).byteLength;
const short = (text: string): string => text.slice(0, SHORT_CHARS);

/** An event that fits: what it can do without goes first. */
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

/** The first that fits, or the last. */
function firstFit(fits: (event: EventBody) => boolean, first: EventBody, last: EventBody): EventBody {
  return fits(first) ? first : last;
}

type Cut = { name: string; make: (job: JobView) => JobView };

/** What a snapshot does without, in this order, each only if it must. */
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

/** A job as a snapshot can show it. Where it does not fit whole, `truncated` names what is not all there. */
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

/** As many outputs from the first as there is room for beside the rest of the job; none where the rest alone is too much. */
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
