import type { Graph } from '../../contract/new-job.ts';
import { FaultList } from '../fault-list.ts';
import { quote } from '../problems.ts';
import { isLink, WRAPPER, type Place } from './graph.ts';

/**
 * Texts that would make a node reach beyond its job's files: ComfyUI before 0.28 follows paths out of its folders
 * (CVE-2026-56673), a suffix like `[output]` makes LoadImage read what other jobs left, and custom nodes open whatever they are
 * given (reference/comfyui.md sections 6 and 8). Names of inputs and models need none of it.
 *
 * Inputs that name a file or a place are checked strictly. Others only for what is plainly a path, because a path may come
 * from a text node by a link. Texts of prompt encoders are free: nobody opens them. `inputNames`: what the job's own files are called; a
 * value that is one of them becomes that file.
 */
export function unsafeInputs(
  graph: Graph,
  allowUrls: boolean,
  place: Place,
  inputNames: ReadonlySet<string> = new Set(),
): FaultList {
  const faults = new FaultList();
  for (const [id, { class_type, inputs }] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(inputs)) {
      const check = checkFor(class_type, input, allowUrls);
      eachText(value, [id, 'inputs', input], (text, path) => {
        const what = inputNames.has(text) ? null : check(text, isWithin(path));
        if (what !== null) {
          faults.add('unsafe_input', () => ({
            pointer: place(...path),
            detail: `${quote(input)} may not hold ${what}`,
          }));
        }
      });
    }
  }
  return faults;
}

/** What an input that names a file, a folder, a model or a place on the net is called. */
const NAMES_A_FILE =
  /(^|_)(file|files|filename|filenames|filepath|path|paths|dir|directory|folder|subfolder|prefix|name|url|urls|uri|image|images|mask|masks|video|videos|audio|audios|model|lora|vae|ckpt|checkpoint|mesh|latent)(_|\d|$)/i;
const LOADS = /load/i;
const ENCODES = /encode/i;
const PROMPTS = /(^|_)(text|prompt|tags|lyrics|caption)(_|$)/i;

const ROOTED = /^\s*([/\\]|~[/\\]|[A-Za-z]:([/\\]|$))/;
/** The same where any text may stand: more than a slash that begins a sentence. */
const PLAINLY_ROOTED = /^\s*(\/[^\s/]+\/|\\\\[^\s\\]+\\|~[/\\]\S|[A-Za-z]:[/\\]\S)/;
const CLIMBS = /(^|[/\\])\s*\.\.\s*([/\\]|$)/;
/** ComfyUI reads the suffix off the end of the name (`folder_paths`, annotated file paths). */
const ANNOTATED = /\[(input|output|temp)\]\s*$/i;
const URL = /^\s*[a-z][a-z0-9+.-]*:\/\//i;
const FILE_URL = /^\s*file:/i;

/** Where ComfyUI serves its files. A node that is given such a text as a URL may open the file itself. */
const SERVED = /^\s*\/(?:api\/)?view\?/i;
/** Widgets that show what the last run made. No node takes them, so that nothing opens what is left over in them. */
const DISPLAY_ONLY = new Set(['rgthree_comparer', 'videopreview']);

/** The first bytes of a JPEG, with its next marker, as base64 spells them: a path only by its first character. */
const JPEG = /^\s*\/9j\/[24567wx/]/;
/** Without blanks at its end: one expression for both would try every split of a long run of blanks. */
const BASE64 = /^[A-Za-z0-9+/\s]+={0,2}$/;
/** Longest path that Linux opens, in bytes: a longer text is none. */
const MAX_PATH_BYTES = 4096;
/** Whether a text is the content of a file rather than its path. */
const isContent = (text: string): boolean =>
  (JPEG.test(text) || text.length > MAX_PATH_BYTES) && BASE64.test(text.trimEnd());

/** Says what is wrong with a text. `isWithin`: it stands within a list or an object. */
type Check = (text: string, isWithin: boolean) => string | null;

/** Whether an input names a file, a folder, a model or a place on the net by what it is called. */
export const namesAFile = (input: string): boolean => NAMES_A_FILE.test(input);

/** Whether an input names such a thing by what it is called, or by a class that loads. */
export const isFileInput = (class_type: string, input: string): boolean =>
  namesAFile(input) || (LOADS.test(class_type) && !PROMPTS.test(input));

/** Whether an input is a text for an encoder, which nobody opens. */
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
      // Left over from a widget: what a node opens by itself is not found within an object.
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

/** Whether a place is deeper than an input of a node; the wrapper that ComfyUI takes off does not count. */
const isWithin = (path: readonly string[]): boolean => path.slice(3).some((key) => key !== WRAPPER);

/** Shows every text within a value, with the way to it, which holds only while it is shown. A link names a node, not a file. */
function eachText(value: unknown, path: string[], see: (text: string, path: readonly string[]) => void): void {
  if (typeof value === 'string') {
    see(value, path);
  } else if (typeof value === 'object' && value !== null && !isLink(value)) {
    for (const [key, inner] of Object.entries(value)) {
      path.push(key);
      eachText(inner, path, see);
      path.pop();
    }
  }
}
