import { plainName } from '../../../domain/workflow/input-name.ts';

/**
 * Maps the names of input files in the request to unique names without folders and annotations. worker-comfyui uploads
 * each file to ComfyUI under that name; the upload creates no folders and ignores annotations.
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
