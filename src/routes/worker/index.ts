import { Hono, type Context, type MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { z } from 'zod';
import { catalogRequest, claimRequest, completeRequest, finishRequest, uploadsRequest } from '../../contract/worker.ts';
import { parseWorkerJson } from '../../contract/worker-json.ts';
import { ruleOf } from '../../domain/validation.ts';
import type { ServiceContext } from '../../services/context.ts';
import type { Result } from '../../domain/result.ts';
import { checkEdgeLimit } from '../../services/auth/edge-rate-limit.ts';
import { attemptOf, type WorkerRefusal } from '../../services/worker/access.ts';
import { reportCatalog } from '../../services/worker/catalog.ts';
import { openChannel } from '../../services/worker/channel.ts';
import { claim } from '../../services/worker/claim.ts';
import { complete } from '../../services/worker/complete.ts';
import { finishUpload, uploads } from '../../services/worker/uploads.ts';
import type { AppEnv } from '../http/app-env.ts';
import { senderOf } from '../http/edge-rate-limit.ts';
import { granted, refuse } from './answers.ts';

/** The largest body of a claim, in bytes. A claim contains a few names. */
const CLAIM_BYTES = 64 * 1024;
/** The largest body of an upload call: 1,000 files with the longest names, or the parts of the largest file. */
const UPLOADS_BYTES = 2 * 1024 * 1024;
/** The largest report: 1,000 outputs with short texts, or the node names of a large ComfyUI. */
const REPORT_BYTES = 16 * 1024 * 1024;

/** `attempt`: the attempt of the token. */
type WorkerEnv = { Bindings: AppEnv['Bindings']; Variables: AppEnv['Variables'] & { attempt: number } };

/**
 * The routes of worker-gpu (docs/reference/worker-contract.md). Every call carries the token of one attempt of one job.
 */
export const workerRoutes = new Hono<WorkerEnv>();

/** Rejects requests without a token of the job before their body is read, and counts them for the sender's address. */
workerRoutes.use('/jobs/:job/*', async (c, next) => {
  const attempt = await attemptOf(c.var.context, 'worker', c.req.param('job'), bearer(c));
  if (attempt === null) {
    const wait_s = await checkEdgeLimit(c.env, 'bad_key', senderOf(c));
    return refuse(c, wait_s === null ? { code: 'invalid_token' } : { code: 'rate_limited', wait_s });
  }
  c.set('attempt', attempt);
  return next();
});

const atMost = (maxSize: number): MiddlewareHandler =>
  bodyLimit({
    maxSize,
    onError: (c) => refuse(c, { code: 'invalid_request', detail: `The body may be at most ${maxSize} bytes.` }),
  });

workerRoutes.use('/jobs/:job/claim', atMost(CLAIM_BYTES));
workerRoutes.use('/jobs/:job/uploads', atMost(UPLOADS_BYTES));
workerRoutes.use('/jobs/:job/uploads/finish', atMost(UPLOADS_BYTES));
workerRoutes.use(atMost(REPORT_BYTES));

workerRoutes.post('/jobs/:job/claim', (c) => handleCall(c, claimRequest, claim, (answer) => granted(c, answer)));
workerRoutes.post('/jobs/:job/uploads', (c) =>
  handleCall(c, uploadsRequest, uploads, (answer) => c.json({ uploads: answer })),
);
workerRoutes.post('/jobs/:job/uploads/finish', (c) =>
  handleCall(c, finishRequest, finishUpload, () => c.body(null, 204)),
);
workerRoutes.post('/jobs/:job/complete', (c) => handleCall(c, completeRequest, complete, (answer) => c.json(answer)));
workerRoutes.put('/jobs/:job/catalog', (c) => handleCall(c, catalogRequest, reportCatalog, () => c.body(null, 204)));

workerRoutes.get('/jobs/:job/channel', async (c) => {
  const job = c.req.param('job');
  const attempt = Number(c.req.query('attempt'));
  if (attempt !== c.var.attempt) {
    return refuse(c, { code: 'invalid_token' });
  }
  if (c.req.header('upgrade')?.toLowerCase() !== 'websocket') {
    return refuse(c, { code: 'invalid_request', detail: 'This route requires a WebSocket upgrade.' });
  }
  const opened = await openChannel(c.var.context, job, attempt, c.req.query('claim') ?? '');
  switch (opened.status) {
    case 404:
      return refuse(c, { code: 'job_not_found' });
    case 409:
      return refuse(c, { code: 'claimed_elsewhere' });
    case 410:
      return refuse(c, { code: 'job_over' });
    default:
      return opened;
  }
});

/**
 * Handles a call with a body: parses it, checks that it is about the token's attempt, calls the service, and responds.
 */
async function handleCall<T extends { attempt: number }, R>(
  c: Context<WorkerEnv, '/jobs/:job/*'>,
  schema: z.ZodType<T>,
  act: (context: ServiceContext, job: string, body: T) => Promise<Result<R, WorkerRefusal>>,
  render: (answer: R) => Response,
): Promise<Response> {
  const job = c.req.param('job');
  const parsed = schema.safeParse(parsedOrNothing(await c.req.text().catch(() => '')));
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return refuse(c, {
      code: 'invalid_request',
      detail: issue === undefined ? 'The body is invalid.' : `"${issue.path.join('.')}" ${ruleOf(issue)}.`,
    });
  }
  if (parsed.data.attempt !== c.var.attempt) {
    return refuse(c, { code: 'invalid_token' });
  }
  const answer = await act(c.var.context, job, parsed.data);
  return answer.ok ? render(answer.value) : refuse(c, answer.problem);
}

const bearer = (c: Context<WorkerEnv>): string | undefined =>
  /^Bearer (\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1];

function parsedOrNothing(text: string): unknown {
  try {
    return parseWorkerJson(text);
  } catch {
    return undefined;
  }
}
