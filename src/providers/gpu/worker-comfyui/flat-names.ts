import { plainName } from '../../../domain/workflow/input-name.ts';

/**
 * Names for input files on endpoints that run worker-comfyui, by their names in the request: it uploads each to ComfyUI under the name
 * it is given, where no folder is made and nothing is read off the end of a name. No two are the same.
 */
export function flatNames(names: readonly string[]): Map<string, string> {
  const taken = new Set(names);
  return new Map(
    names.map((name) => {
      const flat = plainName(name).replaceAll('/', '_');
      const dot = flat.includes('.') ? flat.lastIndexOf('.') : flat.length;
      let own = flat;
      for (let next = 2; own !== name && taken.has(own); next += 1) {
        own = `${flat.slice(0, dot)}-${next}${flat.slice(dot)}`;
      }
      taken.add(own);
      return [name, own];
    }),
  );
}
