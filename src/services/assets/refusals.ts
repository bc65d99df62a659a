import type { Problem } from '../../domain/problems.ts';

/** Problems with a file, shared by all ways to send one. */

/** Problems with the content of a file. */
export type ContentProblem = { code: 'unsupported_media' | 'image_too_large'; detail: string };

export const unsupportedMedia: ContentProblem = {
  code: 'unsupported_media',
  detail: 'The content is not an image, video, audio, 3D, latent or text file.',
};

export const storageFull: Problem = {
  code: 'storage_full',
  detail: "The file would exceed the account's storage limit. Delete assets, or wait until they expire.",
};

/** @param inParts the maximum size of a multipart upload, in bytes, when the client could use one instead */
export const tooLarge = (limit: number, inParts = 0): Problem => ({
  code: 'file_too_large',
  detail:
    inParts > limit
      ? `A file may be at most ${limit} bytes this way. Send it in parts with POST /v1/uploads (at most ${inParts} bytes) and name it by "asset".`
      : `A file may be at most ${limit} bytes.`,
});
