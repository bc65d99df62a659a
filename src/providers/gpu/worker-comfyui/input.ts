/** What worker-comfyui takes in RunPod's `input` (reference/competitors.md section 3), and how much of it fits. */

/** Largest body of RunPod's `/run`: 10 MB (reference/runpod.md 2.1), taken as decimal megabytes. */
export const MAX_RUN_BODY_BYTES = 10_000_000;
/** What stands around the input: the webhook's URL with its token, and the limits of the run. */
const ENVELOPE_BYTES = 4_096;

/**
 * The input as JSON text, in pieces. `workflow` is JSON text already; `base64` is bare base64. Files of every kind go under `images`:
 * worker-comfyui hands them to ComfyUI's upload route, which keeps any file.
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

/** Bytes that a file adds to the body. */
export const imageBytes = ({ name, size_bytes }: { name: string; size_bytes: number }): number =>
  utf8Length(inputPieces('', [{ name, base64: '' }]).join('')) + 4 * Math.ceil(size_bytes / 3);

/** Bytes that are left for files beside this graph; negative when the graph alone is too large. */
export const roomForImages = (workflow: string): number => MAX_RUN_BODY_BYTES - ENVELOPE_BYTES - utf8Length(workflow);

const utf8Length = (text: string): number => new TextEncoder().encode(text).length;
