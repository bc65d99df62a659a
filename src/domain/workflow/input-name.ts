import { pointer, quote, type Issue } from '../problems.ts';

/**
 * Rules for the name of an input: a relative path, as ComfyUI's editor writes file names into a graph: `photo.png`,
 * `pasted/image (1).png`, `clipspace/mask.png [input]`. The worker keeps each job's inputs in a separate folder.
 */

const MAX_NAME_BYTES = 255;
/** A suffix that selects the folder in which ComfyUI looks for the file. */
const ANNOTATION = / \[(input|output|temp)\]$/;
/** Forms of the suffix that ComfyUI reads differently or ignores. */
const ODD_ANNOTATION = /\[(?:input|output|temp)\]\s*$/i;
const DRIVE = /^[A-Za-z]:/;
// oxlint-disable-next-line no-control-regex -- this pattern looks for control characters
const CONTROL = /[\0-\x1f\x7f]/;

/** Replaces the backslashes of names from Windows by slashes. */
export const portableName = (name: string): string => name.replaceAll(/\\+/g, '/');

/** The name without a folder suffix such as ` [input]`. */
export const plainName = (name: string): string => name.replace(ANNOTATION, '');

/** Says, as a sentence, why a name is not valid for an input. Null when it is valid. */
export function inputNameIssue(name: string): string | null {
  if (name === '' || new TextEncoder().encode(name).length > MAX_NAME_BYTES) {
    return `A file name must have 1 to ${MAX_NAME_BYTES} bytes.`;
  }
  const plain = plainName(portableName(name));
  const segments = plain.split('/').map((segment) => segment.trim());
  if (CONTROL.test(name) || ODD_ANNOTATION.test(plain)) {
    return 'A file name must not contain control characters. A space must precede a final [input], [output] or [temp].';
  }
  if (DRIVE.test(plain) || plain.startsWith('~') || segments.some((each) => each === '' || /^\.{1,2}$/.test(each))) {
    return 'A file name must be a relative path without empty, "." and ".." parts.';
  }
  return null;
}

/** Validates the names of a request's inputs. Two names that lead to the same file are duplicates. */
export function nameIssues(names: readonly string[]): Issue[] {
  const files = new Set<string>();
  const issues = names.flatMap((name, at): Issue[] => {
    const where = pointer(['inputs', at, 'name']);
    const detail = inputNameIssue(name);
    if (detail !== null) {
      return [{ pointer: where, code: 'invalid_name', detail }];
    }
    const file = fileOf(name);
    if (files.has(file)) {
      return [{ pointer: where, code: 'duplicate_name', detail: `Another input already has the name ${quote(name)}.` }];
    }
    files.add(file);
    return [];
  });
  for (const [at, name] of names.entries()) {
    const folder = foldersOf(fileOf(name)).find((each) => files.has(each));
    if (folder !== undefined) {
      const detail = `The folder of ${quote(name)} has the same name as another input.`;
      issues.push({ pointer: pointer(['inputs', at, 'name']), code: 'invalid_name', detail });
    }
  }
  return issues;
}

/** The file of a name: ComfyUI's folder and the path in it. */
const fileOf = (name: string): string => {
  const portable = portableName(name);
  return `${ANNOTATION.exec(portable)?.[1] ?? 'input'}/${plainName(portable)}`;
};

const foldersOf = (file: string): string[] => {
  const parts = file.split('/');
  return parts.slice(2).map((_part, at) => parts.slice(0, at + 2).join('/'));
};
