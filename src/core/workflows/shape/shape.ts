import type { GraphLimits, NodePolicy } from '../../../config.ts';
import type { Graph } from '../../../contract/new-job.ts';
import type { Resolved } from '../../../contract/job.ts';
import type { NewSeed } from '../../../providers/seeds.ts';
import { jsonText } from '../../json.ts';
import type { FaultList } from '../../fault-list.ts';
import type { Fault } from '../../problems.ts';
import { checkGraph, checkLeastSize, checkSize } from '../check.ts';
import type { Place } from '../graph.ts';
import { unsafeInputs } from '../paths.ts';
import { disallowedNodes } from '../policy.ts';
import { warningsOf, type Facts } from '../results.ts';
import { bound } from './bounds.ts';
import { draftOf, type Draft } from './draft.ts';
import { override, type Overrides } from './overrides.ts';
import { setParams, type Params } from './params.ts';
import { separatePrefixes, type Renamed } from './prefixes.ts';
import { drawSeeds } from './seeds.ts';
import { renamePaths } from './rename-paths.ts';
import { substitute, type Variables } from './variables.ts';

/** What a request wants changed in its graph. Without `variables`, `{{` in a text means nothing. */
export type Shaping = {
  variables?: Variables | undefined;
  params: Params;
  overrides: Overrides;
  randomizeSeeds: boolean;
  /** What the job's files are called in the graph that runs, by their names in the request, with the separators of Linux. */
  inputNames: ReadonlyMap<string, string>;
  /** Whether previews are results of the job. */
  tempOutputs: boolean;
};

/** What an endpoint and a key allow. */
export type Rules = {
  limits: GraphLimits;
  maxNodes: number;
  maxBytes: number;
  policies: readonly NodePolicy[];
  allowUrls: boolean;
  /** What is known of the endpoint's node classes. */
  facts: Facts;
};

/** The graph that will run, as value and as text, what was decided on the way, and where each part of it came from. */
export type Shaped = { graph: Graph; text: string; resolved: Resolved; renamed: Renamed[]; place: Place };

/**
 * From the graph of a request to the graph that runs. In this order: variables, params, overrides, seeds, limits, paths, prefixes; then
 * the rules are checked on the result. All faults come together. Nothing given may be far larger than a graph may be: the time and
 * the memory this takes are bounded by it. Pure but for `newSeed`; the graph given is not changed, and
 * shaping a result again with nothing to do leaves it as it is.
 */
export function shape(
  graph: Graph,
  shaping: Shaping,
  rules: Rules,
  newSeed: NewSeed,
  inRequest: Place,
): { shaped: Shaped; faults: FaultList } {
  const draft = draftOf(graph, inRequest);
  if (shaping.variables !== undefined) {
    substitute(draft, shaping.variables, rules.maxBytes);
  }
  setParams(draft, shaping.params);
  const { overrides, seeds } = override(draft, shaping.overrides, newSeed);
  seeds.push(...drawSeeds(draft, shaping.randomizeSeeds, newSeed));
  const clamped = bound(draft, rules.limits);
  const renamed = [...renamePaths(draft, shaping.inputNames), ...separatePrefixes(draft)];

  const { text, faults: tooLarge } = textOf(draft, rules.maxBytes);
  draft.faults.addAll(tooLarge);
  if (tooLarge.length === 0) {
    draft.faults.append(checkGraph(draft.graph, draft.place, rules.facts));
  }
  draft.faults.addAll(disallowedNodes(draft.graph, rules.policies, draft.place));
  draft.faults.append(unsafeInputs(draft.graph, rules.allowUrls, draft.place, new Set(shaping.inputNames.values())));
  const warnings = draft.faults.count > 0 ? [] : warningsOf(draft.graph, rules.facts, shaping.tempOutputs);
  const resolved = { seeds, overrides: overrides.slice(0, MAX_REPORTED), clamped, warnings };
  return { shaped: { graph: draft.graph, text, resolved, renamed, place: draft.place }, faults: draft.faults };
}

/** The graph as text; empty where it is far too large to be written at all. */
function textOf({ graph, place }: Draft, maxBytes: number): { text: string; faults: Fault[] } {
  const tooLarge = checkLeastSize(graph, maxBytes, place);
  if (tooLarge.length > 0) {
    return { text: '', faults: tooLarge };
  }
  const text = jsonText(graph);
  return { text, faults: checkSize(text, maxBytes, place) };
}

/** Places of overrides a job reports; its record must stay small. */
const MAX_REPORTED = 100;
