import type { Graph } from '../../contract/new-job.ts';
import { FaultList } from '../fault-list.ts';
import { quote } from '../problems.ts';
import { isLink, type Place } from './graph.ts';

/**
 * Texts that would make a node reach beyond its job's files: ComfyUI before 0.28 follows paths out of its folders
 * (CVE-2026-56673), a suffix like `[output]` makes LoadImage read what other jobs left, and custom nodes open whatever they are
 * given (reference/comfyui.md sections 6 and 8). Names of inputs and models need none of it.
 *
 * Inputs that name a file or a place are checked strictly. Others only for what is plainly a path, because a path may come
 * from a text node by a link. Texts of prompt encoders are free: nobody opens them.
 */
export function unsafeInputs(graph: Graph, allowUrls: boolean, place: Place): FaultList {
  const faults = new FaultList();
  for (const [id, { class_type, inputs }] of Object.entries(graph)) {
    for (const [input, value] of Object.entries(inputs)) {
      const check = checkFor(class_type, input, allowUrls);
      eachText(value, [id, 'inputs', input], (text, path) => {
        const what = check(text);
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

type Check = (text: string) => string | null;

function checkFor(class_type: string, input: string, allowUrls: boolean): Check {
  if (ENCODES.test(class_type) && !LOADS.test(class_type) && PROMPTS.test(input)) {
    return (text) => (text.includes('\0') ? 'a NUL character' : null);
  }
  const strict = NAMES_A_FILE.test(input) || (LOADS.test(class_type) && !PROMPTS.test(input));
  return (text) => {
    if (text.includes('\0')) {
      return 'a NUL character';
    }
    if (CLIMBS.test(text)) {
      return 'a path that climbs with ".."';
    }
    if (ANNOTATED.test(text)) {
      return 'a name that ends in [input], [output] or [temp]';
    }
    if (FILE_URL.test(text) || (strict && !allowUrls && URL.test(text))) {
      return 'a URL; send the file as an input';
    }
    return (strict ? ROOTED : PLAINLY_ROOTED).test(text) ? 'an absolute path' : null;
  };
}

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
