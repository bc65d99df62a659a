import { isRecord } from '../../../domain/workflow/parse.ts';
import { jsonText, parseJson } from '../../../domain/json.ts';

/**
 * worker-comfyui puts each file into ComfyUI's input folder under the name it has in the graph. That fails for a name with a folder, which
 * is not there, and for one with an annotation such as `photo.png [input]`, which ComfyUI takes off when it looks for the file.
 */
const NOT_PLAIN = /[/\\]| \[[a-z]+\]$/;
const EXTENSION = /\.[A-Za-z0-9]{1,12}(?= \[[a-z]+\]$|$)/;
/** Enough of a content's hash to be its name. */
const NAME_CHARS = 32;

/** The graph, and a name for each file, by its name in the request: its own where that is plain, else one made of its content's hash. */
export function withPlainNames(
  workflow: string,
  files: readonly { name: string; sha256: string }[],
): { workflow: string; nameOf: ReadonlyMap<string, string> } {
  const nameOf = new Map(files.map(({ name, sha256 }) => [name, NOT_PLAIN.test(name) ? hashName(name, sha256) : name]));
  if (files.every(({ name }) => nameOf.get(name) === name)) {
    return { workflow, nameOf };
  }
  const parsed = parseJson(workflow);
  if (!parsed.ok || !isRecord(parsed.value)) {
    throw new Error('a graph that was checked is no longer one');
  }
  for (const node of Object.values(parsed.value)) {
    const inputs = isRecord(node) ? node['inputs'] : undefined;
    if (isRecord(inputs)) {
      for (const [input, value] of Object.entries(inputs)) {
        inputs[input] = typeof value === 'string' ? (nameOf.get(value) ?? value) : value;
      }
    }
  }
  return { workflow: jsonText(parsed.value), nameOf };
}

const hashName = (name: string, sha256: string): string =>
  `${sha256.slice(0, NAME_CHARS)}${EXTENSION.exec(name)?.[0] ?? ''}`;
