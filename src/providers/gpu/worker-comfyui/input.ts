/** The `input` of a run of worker-comfyui (reference/competitors.md section 3), and its size limit. */

/** The largest body of RunPod's `/run`: 10 MB (reference/runpod.md 2.1), read as decimal megabytes. */
export const MAX_RUN_BODY_BYTES = 10_000_000;
/** Room for the rest of the body: the webhook's URL with its token, and the limits of the run. */
const ENVELOPE_BYTES = 4_096;

/**
 * Returns the input as JSON text, in pieces. `workflow` is JSON text; `base64` is base64 without a data URL. Files of
 * every kind are sent under `images`: worker-comfyui uploads them to ComfyUI, which accepts any file.
 */
export const inputPieces = (workflow: string, images: readonly { name: string; base64: string }[]): string[] => [
  '{"workflow":',
  workflow,
  ',"images":[',
  ...images.flatMap(({ name, base64 }, at) => [
    `${at === 0 ? '' : ','}{"name":${JSON.stringify(name)},"image":"`,
    base64,
    '"}',
  ]),
  ']}',
];

/** Returns the number of bytes that a file adds to the body. */
export const imageBytes = ({ name, size_bytes }: { name: string; size_bytes: number }): number =>
  utf8Length(inputPieces('', [{ name, base64: '' }]).join('')) + 4 * Math.ceil(size_bytes / 3);

/** Returns the number of bytes that are left for files; negative if the graph alone is too large. */
export const roomForImages = (workflow: string): number => MAX_RUN_BODY_BYTES - ENVELOPE_BYTES - utf8Length(workflow);

const utf8Length = (text: string): number => new TextEncoder().encode(text).length;
