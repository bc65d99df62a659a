import { pointer, quote, type Fault } from '../problems.ts';

/**
 * What an input may be called: a relative path, as ComfyUI's editor writes the names of files into a graph: `photo.png`,
 * `pasted/image (1).png`, `clipspace/mask.png [input]`. The worker keeps each job's inputs in a folder of its own.
 */

const MAX_NAME_BYTES = 255;
/** Which of its folders ComfyUI looks in, where it is not the one for inputs. It reads this off the end of the name. */
const ANNOTATION = / \[(input|output|temp)\]$/;
/** The same in forms that ComfyUI reads otherwise, or not at all. */
const ODD_ANNOTATION = /\[(?:input|output|temp)\]\s*$/i;
const DRIVE = /^[A-Za-z]:/;
// oxlint-disable-next-line no-control-regex -- control characters are what is looked for
const CONTROL = /[\0-\x1f\x7f]/;

/** The name with the separators of Linux: graphs and names that come from Windows have its own. */
export const portableName = (name: string): string => name.replaceAll(/\\+/g, '/');

/** The name without the folder that may be written behind it. */
export const plainName = (name: string): string => name.replace(ANNOTATION, '');

/** Why an input cannot have this name, as a sentence; null when it can. */
export function inputNameFault(name: string): string | null {
  if (name === '' || new TextEncoder().encode(name).length > MAX_NAME_BYTES) {
    return `A file name has 1 to ${MAX_NAME_BYTES} bytes.`;
  }
  const plain = plainName(portableName(name));
  const segments = plain.split('/').map((segment) => segment.trim());
  if (CONTROL.test(name) || ODD_ANNOTATION.test(plain)) {
    return 'A file name must not hold control characters, and end in [input], [output] or [temp] only behind a space.';
  }
  if (DRIVE.test(plain) || plain.startsWith('~') || segments.some((each) => each === '' || /^\.{1,2}$/.test(each))) {
    return 'A file name must be a relative path without empty, "." and ".." parts.';
  }
  return null;
}

/** What is wrong with the names of a request's inputs. Names that lead to one file are duplicates. */
export function nameFaults(names: readonly string[]): Fault[] {
  const files = new Set<string>();
  const faults = names.flatMap((name, at): Fault[] => {
    const where = pointer(['inputs', at, 'name']);
    const detail = inputNameFault(name);
    if (detail !== null) {
      return [{ pointer: where, code: 'invalid_name', detail }];
    }
    const file = fileOf(name);
    if (files.has(file)) {
      return [{ pointer: where, code: 'duplicate_name', detail: `Another input has the name ${quote(name)} already.` }];
    }
    files.add(file);
    return [];
  });
  for (const [at, name] of names.entries()) {
    const folder = foldersOf(fileOf(name)).find((each) => files.has(each));
    if (folder !== undefined) {
      const detail = `${quote(name)} is in a folder that has the name of another input.`;
      faults.push({ pointer: pointer(['inputs', at, 'name']), code: 'invalid_name', detail });
    }
  }
  return faults;
}

/** The file that a name leads to: ComfyUI's folder and the path in it. */
const fileOf = (name: string): string => {
  const portable = portableName(name);
  return `${ANNOTATION.exec(portable)?.[1] ?? 'input'}/${plainName(portable)}`;
};

const foldersOf = (file: string): string[] => {
  const parts = file.split('/');
  return parts.slice(2).map((_part, at) => parts.slice(0, at + 2).join('/'));
};
