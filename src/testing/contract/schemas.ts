import { Validator, type OutputUnit, type Schema } from '@cfworker/json-schema';

/** The JSON Schemas of the OpenAPI document, made strict: a response with an undescribed field is a violation. */

type Node = Record<string, unknown>;

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
const ONE = ['items', 'additionalProperties', 'not', 'contains', 'propertyNames'];
const LIST = ['prefixItems', 'anyOf', 'oneOf'];
const NAMED = ['properties', 'patternProperties'];

const COMPONENTS = '#/components/schemas/';

/**
 * Closes the objects of a schema. A part of an `allOf` stays open, because it describes only some fields; the whole is closed
 * instead. `unevaluatedProperties` sees through references, so components can stay open.
 */
function closed(schema: unknown, part = false): unknown {
  if (!isNode(schema)) {
    return schema;
  }
  const made: Node = { ...schema };
  if (typeof made['$ref'] === 'string') {
    made['$ref'] = made['$ref'].replace(COMPONENTS, '#/$defs/');
  }
  for (const key of ONE) {
    if (key in made) {
      made[key] = closed(made[key]);
    }
  }
  // Alternatives describe the object that their parent closes.
  for (const key of LIST) {
    const list = made[key];
    if (Array.isArray(list)) {
      made[key] = list.map((each) => closed(each, key !== 'prefixItems'));
    }
  }
  if (Array.isArray(made['allOf'])) {
    made['allOf'] = made['allOf'].map((each) => closed(each, true));
  }
  for (const key of NAMED) {
    const named = made[key];
    if (isNode(named)) {
      made[key] = Object.fromEntries(Object.entries(named).map(([name, each]) => [name, closed(each)]));
    }
  }
  const shapes = ['properties', 'allOf', 'anyOf', 'oneOf', '$ref'].some((key) => key in made);
  return part || !shapes || 'additionalProperties' in made ? made : { ...made, unevaluatedProperties: false };
}

/** The violations of a value, each with its place. */
export type Check = (value: unknown) => string[];

/** Checks of values against schemas that may refer to the document's components. */
export function strictChecks(components: Readonly<Record<string, unknown>>): (schema: unknown) => Check {
  const $defs = Object.fromEntries(Object.entries(components).map(([name, each]) => [name, closed(each, true)]));
  return (schema) => {
    const strict = closed(schema);
    // The library accepts any object as a schema and ignores unknown keywords, as JSON Schema requires.
    const root: Schema = { $id: 'https://contract.invalid/answer', ...(isNode(strict) ? strict : {}), $defs };
    const validator = new Validator(root, '2020-12', false);
    return (value) => {
      const { valid, errors } = validator.validate(value);
      return valid ? [] : report(errors);
    };
  };
}

/** Keywords whose errors only repeat an error further inside. */
const AROUND = new Set([
  '$ref',
  'properties',
  'items',
  'prefixItems',
  'allOf',
  'anyOf',
  'oneOf',
  'unevaluatedProperties',
]);

/**
 * The library's errors without their consequences. A schema that does not match has evaluated none of its fields, so each of
 * them counts as undescribed: that is reported only when it is the only error.
 */
function report(errors: readonly OutputUnit[]): string[] {
  const issues = errors.filter(({ keyword }) => !AROUND.has(keyword));
  const wrong = issues.filter(({ keyword }) => keyword !== 'false');
  const lines =
    wrong.length > 0
      ? wrong.map(({ instanceLocation, error }) => `${instanceLocation}: ${error}`)
      : issues.map(({ instanceLocation }) => `${instanceLocation}: this field is not described`);
  return lines.length > 0 ? [...new Set(lines)] : errors.map(({ error }) => error);
}
