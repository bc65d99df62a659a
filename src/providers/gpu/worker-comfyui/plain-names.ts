import { isRecord } from '../../../domain/workflow/parse.ts';
import { jsonText, parseJson } from '../../../domain/json.ts';

/**
 * worker-comfyui stores each file in ComfyUI's input folder under its name in the graph. That fails for a name with a
 * folder, which does not exist, and for a name with an annotation such as `photo.png [input]`, which ComfyUI removes
 * before it looks for the file.
 */
const NOT_PLAIN = /[/\\]| \[[a-z]+\]$/;
const EXTENSION = /\.[A-Za-z0-9]{1,12}(?= \[[a-z]+\]$|$)/;
/** This many characters of the content's hash make a unique name. */
const NAME_CHARS = 32;

/**
 * Maps each file's name in the request to a plain name: the name itself if it is plain, otherwise a name made of the
 * content's hash. Returns the graph with the new names.
 */
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
    throw new Error('The graph is not a JSON object, although it was validated.');
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
