import type { Graph } from '../../contract/new-job.ts';
import { ValidationErrors } from '../validation-errors.ts';
import { quote } from '../problems.ts';
import { isLink, WRAPPER, type RequestPointer } from './graph.ts';

/**
 * Finds texts that would make a node read or write outside its job's directory. ComfyUI before 0.28 follows paths out
 * of its folders (CVE-2026-56673), a suffix like `[output]` makes LoadImage read files of other jobs, and custom nodes
 * open any path (reference/comfyui.md sections 6 and 8). Names of inputs and models never need such a path.
 *
 * Inputs that name a file, folder or URL are checked strictly. Other inputs are checked for a text that is plainly a
 * path, because a text node may pass a path on by a link. Prompts of text encoders are not checked: no node opens them.
 * `inputNames`: the names of the job's own files; a value equal to one of them becomes that file.
 */
export function unsafeInputs(
  graph: Graph,
  allowUrls: boolean,
  pointerOf: RequestPointer,
  inputNames: ReadonlySet<string> = new Set(),
): ValidationErrors {
  const issues = new ValidationErrors();
  for (const [id, { class_type, inputs }] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(inputs)) {
      const check = checkFor(class_type, input, allowUrls);
      eachText(value, [id, 'inputs', input], (text, path) => {
        const what = inputNames.has(text) ? null : check(text, isWithin(path));
        if (what !== null) {
          issues.add('unsafe_input', () => ({
            pointer: pointerOf(...path),
            detail: `${quote(input)} must not contain ${what}.`,
          }));
        }
      });
    }
  }
  return issues;
}

/** Names of inputs that take a file, a folder, a model or a URL. */
const NAMES_A_FILE =
  /(^|_)(file|files|filename|filenames|filepath|path|paths|dir|directory|folder|subfolder|prefix|name|url|urls|uri|image|images|mask|masks|video|videos|audio|audios|model|lora|vae|ckpt|checkpoint|mesh|latent)(_|\d|$)/i;
const LOADS = /load/i;
const ENCODES = /encode/i;
const PROMPTS = /(^|_)(text|prompt|tags|lyrics|caption)(_|$)/i;

const ROOTED = /^\s*([/\\]|~[/\\]|[A-Za-z]:([/\\]|$))/;
/** The same for inputs that take any text: a slash at the beginning of a sentence is not a path. */
const PLAINLY_ROOTED = /^\s*(\/[^\s/]+\/|\\\\[^\s\\]+\\|~[/\\]\S|[A-Za-z]:[/\\]\S)/;
const CLIMBS = /(^|[/\\])\s*\.\.\s*([/\\]|$)/;
/** ComfyUI reads this suffix at the end of a name (`folder_paths`, annotated file paths). */
const ANNOTATED = /\[(input|output|temp)\]\s*$/i;
const URL = /^\s*[a-z][a-z0-9+.-]*:\/\//i;
const FILE_URL = /^\s*file:/i;

/** The path where ComfyUI serves its files. A node that takes a URL may open such a file itself. */
const SERVED = /^\s*\/(?:api\/)?view\?/i;
/** Widgets that only display the result of the last run. No node reads them. */
const DISPLAY_ONLY = new Set(['rgthree_comparer', 'videopreview']);

/** The first bytes of a JPEG and its next marker in base64. The leading slash makes it look like a path. */
const JPEG = /^\s*\/9j\/[24567wx/]/;
/** Applied to text without trailing blanks: an expression that also matched them would backtrack over a long run. */
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}$/;
/** The longest path that Linux opens, in bytes (PATH_MAX). A longer text is not a path. */
const MAX_PATH_BYTES = 4096;
/** Whether a text is a file's content in base64 rather than its path. */
const isContent = (text: string): boolean =>
  (JPEG.test(text) || text.length > MAX_PATH_BYTES) && BASE64.test(text.trimEnd());

/** Names what is wrong with a text, or null. `isWithin`: the text is inside a list or an object. */
type Check = (text: string, isWithin: boolean) => string | null;

/** Whether the name of an input says that it takes a file, a folder, a model or a URL. */
export const namesAFile = (input: string): boolean => NAMES_A_FILE.test(input);

/** Whether an input takes such a value by its name, or because its node class loads files. */
export const isFileInput = (class_type: string, input: string): boolean =>
  namesAFile(input) || (LOADS.test(class_type) && !PROMPTS.test(input));

/** Whether an input is a prompt for a text encoder, which is never opened as a path. */
export const isPrompt = (class_type: string, input: string): boolean =>
  ENCODES.test(class_type) && !LOADS.test(class_type) && PROMPTS.test(input);

function checkFor(class_type: string, input: string, allowUrls: boolean): Check {
  if (isPrompt(class_type, input) || DISPLAY_ONLY.has(input)) {
    return (text) => (text.includes('\0') ? 'a NUL character' : null);
  }
  const strict = isFileInput(class_type, input);
  return (text, isWithin) => {
    if (text.includes('\0')) {
      return 'a NUL character';
    }
    if (CLIMBS.test(text)) {
      return 'a path that climbs with ".."';
    }
    if (ANNOTATED.test(text)) {
      return 'a name that ends in [input], [output] or [temp], unless the request has an input of exactly this name';
    }
    if (isContent(text)) {
      return null;
    }
    if (isWithin && !strict && SERVED.test(text)) {
      // A value that a widget left behind: nodes do not open paths inside an object.
      return null;
    }
    if (SERVED.test(text)) {
      return "a URL of ComfyUI's own files; send the file as an input";
    }
    if (FILE_URL.test(text) || (strict && !allowUrls && URL.test(text))) {
      return 'a URL; send the file as an input';
    }
    return (strict ? ROOTED : PLAINLY_ROOTED).test(text) ? 'an absolute path' : null;
  };
}

/** Whether a path leads inside the value of an input. The wrapper that ComfyUI removes does not count. */
const isWithin = (path: readonly string[]): boolean => path.slice(3).some((key) => key !== WRAPPER);

/**
 * Calls `visit` for every text in a value. `path` is reused between calls. Links are skipped: they name a node, not a
 * file.
 */
function eachText(value: unknown, path: string[], visit: (text: string, path: readonly string[]) => void): void {
  if (typeof value === 'string') {
    visit(value, path);
  } else if (typeof value === 'object' && value !== null && !isLink(value)) {
    for (const [key, inner] of Object.entries(value)) {
      path.push(key);
      eachText(inner, path, visit);
      path.pop();
    }
  }
}
