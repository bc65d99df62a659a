import type { Priority } from '../../contract/admission.ts';
import type { Limits } from '../../contract/limits.ts';
import type { Endpoint, NodePolicy } from '../../config/schema.ts';
import type { Graph, JobOptions } from '../../contract/new-job.ts';
import { endpointAccessProblem, defaultEndpoint } from '../auth/endpoint-access.ts';
import type { Caller, ServiceContext } from '../context.ts';
import { issuesOf } from '../../domain/validation.ts';
import { ValidationErrors } from '../../domain/validation-errors.ts';
import { quote, type Problem } from '../../domain/problems.ts';
import { fail, ok, type Result } from '../../domain/result.ts';
import { nodesOf, unknownNodes } from '../endpoints/node-catalog.ts';
import { checkGraph, checkLeastSize } from '../../domain/workflow/check.ts';
import { requestRules } from '../../providers/gpu/request-rules.ts';
import { pointersIn } from '../../domain/workflow/graph.ts';
import { nameIssues, portableName } from '../../domain/workflow/input-name.ts';
import { isRecord, parseWorkflow } from '../../domain/workflow/parse.ts';
import type { Facts } from '../../domain/workflow/results.ts';
import { shape, type Rules, type Shaped } from '../../domain/workflow/shaping/shape.ts';
import { foreignBody } from './foreign-body.ts';
import type { JobBody } from './inline.ts';
import { resolveInputs, type ResolvedInputs } from './inputs.ts';
import { jobRequestSchema, tooMany, type InputRequest } from './request.ts';

/** A valid request, and the graph that will run. */
export type Checked = ResolvedInputs & {
  /** The inputs of the request. */
  requested: readonly InputRequest[];
  /** The names of the inputs on the worker, by their portable names in the request. */
  inputNames: ReadonlyMap<string, string>;
  shaped: Shaped;
  endpoint: string;
  metadata: Record<string, string>;
  options: JobOptions;
  finishWithinS: number;
  startWithinS: number | null;
  /** Seconds; null for the account's default. */
  retention: number | null;
  priority: Priority;
  /** Whether the node classes were checked against the endpoint's catalogue. */
  nodesChecked: boolean;
};

const PATH = ['workflow'];

/**
 * Checks a request and shapes its graph. Stores and counts nothing. Reports all issues together: of the body, the
 * graph, the changes to the graph, and the inputs.
 */
export async function checkRequest(
  context: ServiceContext,
  caller: Caller,
  { value: body, files }: JobBody,
): Promise<Result<Checked, Problem>> {
  const issues = new ValidationErrors();
  issues.addAll(tooMany(body, context.config.limits));
  const foreign = foreignBody(body);
  if (foreign !== null) {
    issues.addAll([foreign]);
  }
  if (issues.count > 0) {
    return refuse(issues);
  }
  const parsed = jobRequestSchema.safeParse(body);
  if (!parsed.success) {
    issues.addAll(issuesOf(parsed.error));
    issues.append(graphIssues(body, context.config.limits));
    return refuse(issues);
  }
  const { workflow, inputs: requested, metadata, options, finish_within, params, overrides } = parsed.data;
  const { variables, priority, start_within, retention = null } = parsed.data;
  const endpoint = parsed.data.endpoint ?? defaultEndpoint(context.config, caller);
  const forbidden = endpointAccessProblem(context.config, caller, endpoint);
  if (forbidden !== null) {
    return fail(forbidden);
  }
  const target = Object.hasOwn(context.config.endpoints, endpoint) ? context.config.endpoints[endpoint] : undefined;
  if (target === undefined) {
    const detail = `Endpoint ${quote(endpoint)} does not exist.`;
    issues.add('unknown_endpoint', () => ({ pointer: '#/endpoint', detail }));
  }
  const nodes = target === undefined ? null : await nodesOf(context, endpoint);
  const rules = rulesOf(context.config.limits, target, caller.nodes, nodes?.facts);
  const { randomize_seeds: randomizeSeeds, ...jobOptions } = options;
  const { temp_outputs: tempOutputs } = jobOptions;
  const graph = graphOf(workflow, rules, issues);
  const portable = requested.map(({ name }) => portableName(name));
  const requestRulesOfWorker = requestRules(target?.worker);
  const inputNames = requestRulesOfWorker.inputNames(portable);
  const shaped =
    graph === null
      ? null
      : shape(
          graph,
          { variables, params, overrides, randomizeSeeds, inputNames, tempOutputs },
          rules,
          context.newSeed,
          pointersIn(PATH),
        );
  if (shaped !== null) {
    issues.append(shaped.issues);
  }
  if (shaped !== null) {
    issues.addAll(unknownNodes(nodes, endpoint, shaped.shaped.graph, shaped.shaped.pointerOf));
  }
  const { max_finish_within, finish_within: defaultFinishWithin } = context.config.policy;
  const finishWithinS = finish_within ?? defaultFinishWithin;
  if (finishWithinS > max_finish_within) {
    const detail = `"finish_within" must be at most ${max_finish_within} seconds.`;
    issues.add('out_of_range', () => ({ pointer: '#/finish_within', detail }));
  }
  const startWithinS = start_within ?? null;
  if (startWithinS !== null && startWithinS > finishWithinS) {
    const detail = `"start_within" must not be greater than "finish_within", which is ${finishWithinS} seconds.`;
    issues.add('out_of_range', () => ({ pointer: '#/start_within', detail }));
  }
  const renamed = requested.map((each, at) => ({ ...each, name: inputNames.get(portable[at] ?? '') ?? each.name }));
  const { inputs, inline, remote, named, issues: inputIssues } = await resolveInputs(context, caller, renamed, files);
  issues.addAll(nameIssues(requested.map(({ name }) => name)));
  issues.addAll(inputIssues);
  if (shaped !== null) {
    issues.addAll(requestRulesOfWorker.runIssues(shaped.shaped.text, inputs));
  }
  return shaped === null || issues.count > 0
    ? refuse(issues)
    : ok({
        shaped: shaped.shaped,
        requested,
        inputNames,
        inputs,
        inline,
        remote,
        named,
        endpoint,
        metadata,
        options: jobOptions,
        finishWithinS,
        startWithinS,
        retention,
        priority,
        nodesChecked: nodes !== null,
      });
}

/** The rules for a graph on this endpoint with this key: the stricter of each limit, and all policies. */
export function rulesOf(
  limits: Limits,
  endpoint: Endpoint | undefined,
  keyPolicy: NodePolicy | null,
  facts: Facts = null,
): Rules {
  const own = endpoint?.limits ?? { on_limit: 'refuse' as const };
  return {
    limits: own,
    maxNodes: Math.min(limits.max_nodes, own.max_nodes ?? Infinity),
    maxBytes: Math.min(limits.max_workflow_bytes, own.max_workflow_bytes ?? Infinity),
    policies: [endpoint?.nodes, keyPolicy].filter((policy) => policy !== null && policy !== undefined),
    allowUrls: endpoint?.allow_urls ?? false,
    facts,
  };
}

/**
 * Parses the graph; null when it cannot be shaped, and its issues are added to the list. Checks the size before
 * shaping.
 */
function graphOf(workflow: unknown, rules: Rules, issues: ValidationErrors): Graph | null {
  const parsed = parseWorkflow(workflow, rules.maxNodes, PATH);
  const found = parsed.ok ? checkLeastSize(parsed.value, rules.maxBytes, pointersIn(PATH)) : parsed.problem;
  issues.addAll(found);
  return parsed.ok && found.length === 0 ? parsed.value : null;
}

/** The issues of the graph in a request whose other fields are invalid. */
function graphIssues(body: unknown, limits: Limits): ValidationErrors {
  const issues = new ValidationErrors();
  if (isRecord(body) && body['workflow'] !== undefined) {
    const graph = graphOf(body['workflow'], rulesOf(limits, undefined, null), issues);
    if (graph !== null) {
      issues.append(checkGraph(graph, pointersIn(PATH)));
    }
  }
  return issues;
}

function refuse(issues: ValidationErrors): Result<never, Problem> {
  const problem = issues.problem();
  if (problem === null) {
    throw new Error('The request was rejected without an issue.');
  }
  return fail(problem);
}
