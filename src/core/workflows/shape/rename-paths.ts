import { portableName } from '../input-name.ts';
import { isFileInput, isPrompt, namesAFile } from '../paths.ts';
import type { Draft } from './draft.ts';
import type { Renamed } from './prefixes.ts';
import { changeTexts } from './texts.ts';

/**
 * Gives paths the names that they have where the graph runs. Those of the job's files are known; of others the separators of Windows
 * become those of Linux, where `SDXL\base.safetensors` is no model. Only what is certainly a path is changed: prompts, patterns and other
 * texts have backslashes of their own.
 */

/** A relative path with Windows's separators, and nothing that no file is called. */
const PATH = /^[^\\/*?"<>|\r\n]+(?:[\\/]+[^\\/*?"<>|\r\n]+)*[\\/]?$/;
const MAX_PATH_CHARS = 1024;
const MODEL = /\.(?:safetensors|sft|ckpt|pt|pth|bin|gguf|onnx|engine|pkl)$/i;
const FILE = /\.[a-z0-9]{2,11}(?: \[(?:input|output|temp)\])?$/i;
/** Inputs that name a folder, or the beginning of a name. */
const FOLDERS = /(?:^|_)(?:prefix|path|paths|dir|directory|folder|subfolder)(?:_|\d|$)/i;
/** Inputs whose texts are about other texts. */
const PATTERNS = /regex|pattern|expression|match|find|replace|delimiter|separator|template|code|script/i;

/** `inputNames`: what the job's files are called in the graph that runs, by their portable names in the request. */
export function renamePaths(draft: Draft, inputNames: ReadonlyMap<string, string>): Renamed[] {
  const renamed: Renamed[] = [];
  changeTexts(draft, (text, [node = '', , input = '']) => {
    const portable = portableName(text);
    const isKnown = portable === text || isPath(draft.graph[node]?.class_type ?? '', input, text);
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
