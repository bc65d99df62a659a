import type { GraphLimits, NodePolicy } from '../../../config/schema.ts';
import type { Graph } from '../../../contract/new-job.ts';
import type { Resolved } from '../../../contract/job.ts';
import type { NewSeed } from '../../../lib/seeds.ts';
import { jsonText } from '../../json.ts';
import type { ValidationErrors } from '../../validation-errors.ts';
import type { Issue } from '../../problems.ts';
import { checkGraph, checkLeastSize, checkSize } from '../check.ts';
import type { RequestPointer } from '../graph.ts';
import { unsafeInputs } from '../paths.ts';
import { disallowedNodes } from '../policy.ts';
import { warningsOf, type Facts } from '../results.ts';
import { bound } from './bounds.ts';
import { workingCopyOf, type WorkingCopy } from './working-copy.ts';
import { override, type Overrides } from './overrides.ts';
import { setParams, type Params } from './params.ts';
import { separatePrefixes, type Renamed } from './prefixes.ts';
import { drawSeeds } from './seeds.ts';
import { renamePaths } from './rename-paths.ts';
import { substitute, type Variables } from './variables.ts';

/** The changes that a request asks for. Without `variables`, `{{` in a text has no meaning. */
export type Shaping = {
  variables?: Variables | undefined;
  params: Params;
  overrides: Overrides;
  randomizeSeeds: boolean;
  /** The names of the job's files on the worker, by their portable names in the request. */
  inputNames: ReadonlyMap<string, string>;
  /** Whether previews count as outputs of the job. */
  tempOutputs: boolean;
};

/** The limits and policies of an endpoint and a key. */
export type Rules = {
  limits: GraphLimits;
  maxNodes: number;
  maxBytes: number;
  policies: readonly NodePolicy[];
  allowUrls: boolean;
  /** Facts about the endpoint's node classes. */
  facts: Facts;
};

/** The graph that will run, as value and as text, with the decisions made and the origin of each part. */
export type Shaped = { graph: Graph; text: string; resolved: Resolved; renamed: Renamed[]; pointerOf: RequestPointer };

/**
 * Turns the graph of a request into the graph that runs. The order is: variables, params, overrides, seeds, limits,
 * paths, prefixes. Then the result is checked. All issues are reported together. Time and memory are proportional to
 * the size of the input, so check that size first. Pure except for `newSeed`. The given graph does not change. Shaping
 * a result again without changes returns it unchanged.
 */
export function shape(
  graph: Graph,
  shaping: Shaping,
  rules: Rules,
  newSeed: NewSeed,
  inRequest: RequestPointer,
): { shaped: Shaped; issues: ValidationErrors } {
  const copy = workingCopyOf(graph, inRequest);
  if (shaping.variables !== undefined) {
    substitute(copy, shaping.variables, rules.maxBytes);
  }
  setParams(copy, shaping.params);
  const { overrides, seeds } = override(copy, shaping.overrides, newSeed);
  seeds.push(...drawSeeds(copy, shaping.randomizeSeeds, newSeed));
  const clamped = bound(copy, rules.limits);
  const renamed = [...renamePaths(copy, shaping.inputNames), ...separatePrefixes(copy)];

  const { text, issues: tooLarge } = textOf(copy, rules.maxBytes);
  copy.issues.addAll(tooLarge);
  if (tooLarge.length === 0) {
    copy.issues.append(checkGraph(copy.graph, copy.pointerOf, rules.facts));
  }
  copy.issues.addAll(disallowedNodes(copy.graph, rules.policies, copy.pointerOf));
  copy.issues.append(unsafeInputs(copy.graph, rules.allowUrls, copy.pointerOf, new Set(shaping.inputNames.values())));
  const warnings = copy.issues.count > 0 ? [] : warningsOf(copy.graph, rules.facts, shaping.tempOutputs);
  const resolved = { seeds, overrides: overrides.slice(0, MAX_REPORTED), clamped, warnings };
  return { shaped: { graph: copy.graph, text, resolved, renamed, pointerOf: copy.pointerOf }, issues: copy.issues };
}

/** The graph as text; empty when the graph is certainly too large. */
function textOf({ graph, pointerOf }: WorkingCopy, maxBytes: number): { text: string; issues: Issue[] } {
  const tooLarge = checkLeastSize(graph, maxBytes, pointerOf);
  if (tooLarge.length > 0) {
    return { text: '', issues: tooLarge };
  }
  const text = jsonText(graph);
  return { text, issues: checkSize(text, maxBytes, pointerOf) };
}

/** The most overridden inputs that a job reports; its record must stay small. */
const MAX_REPORTED = 100;
