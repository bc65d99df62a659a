import { portableName } from '../input-name.ts';
import { isFileInput, isPrompt, namesAFile } from '../paths.ts';
import type { WorkingCopy } from './working-copy.ts';
import type { Renamed } from './prefixes.ts';
import { changeTexts } from './texts.ts';

/**
 * Adapts paths to the worker. Names of the job's own files become the names that these have on the worker. In other
 * paths the backslashes of Windows become slashes, because on Linux `SDXL\base.safetensors` is not the name of a model.
 * Only texts that are certainly paths are changed: prompts, patterns and other texts may contain backslashes of their
 * own.
 */

/** A relative path, perhaps with backslashes, without characters that file names cannot contain. */
const PATH = /^[^\\/*?"<>|\r\n]+(?:[\\/]+[^\\/*?"<>|\r\n]+)*[\\/]?$/;
const MAX_PATH_CHARS = 1024;
const MODEL = /\.(?:safetensors|sft|ckpt|pt|pth|bin|gguf|onnx|engine|pkl)$/i;
const FILE = /\.[a-z0-9]{2,11}(?: \[(?:input|output|temp)\])?$/i;
/** Names of inputs that take a folder or a prefix. */
const FOLDERS = /(?:^|_)(?:prefix|path|paths|dir|directory|folder|subfolder)(?:_|\d|$)/i;
/** Names of inputs that take a pattern, a template or code. */
const PATTERNS = /regex|pattern|expression|match|find|replace|delimiter|separator|template|code|script/i;

/** `inputNames`: the names of the job's files on the worker, by their portable names in the request. */
export function renamePaths(copy: WorkingCopy, inputNames: ReadonlyMap<string, string>): Renamed[] {
  const renamed: Renamed[] = [];
  changeTexts(copy, (text, [node = '', , input = '']) => {
    const portable = portableName(text);
    const isKnown = portable === text || isPath(copy.graph[node]?.class_type ?? '', input, text);
    const to = inputNames.get(portable) ?? (isKnown ? portable : text);
    if (to !== text) {
      renamed.push({ node, input, from: text, to });
    }
    return to;
  });
  return renamed;
}

function isPath(class_type: string, input: string, text: string): boolean {
  if (text.length > MAX_PATH_CHARS || !PATH.test(text) || PATTERNS.test(input) || isPrompt(class_type, input)) {
    return false;
  }
  return (
    MODEL.test(text) ||
    (FILE.test(text) && isFileInput(class_type, input)) ||
    (FOLDERS.test(input) && namesAFile(input))
  );
}
