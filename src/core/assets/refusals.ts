import type { CoreProblem } from '../problems.ts';

/** Why a file is not taken, whichever way it came. */

/** What a file's content can be refused for. */
export type ContentProblem = { code: 'unsupported_media' | 'image_too_large'; detail: string };

export const unsupportedMedia: ContentProblem = {
  code: 'unsupported_media',
  detail: 'the content is no image, video, audio, 3D, latent or text file that a workflow could use',
};

export const storageFull: CoreProblem = {
  code: 'storage_full',
  detail: 'the account may not keep that much; delete assets or wait until they expire',
};

export const tooLarge = (limit: number): CoreProblem => ({
  code: 'file_too_large',
  detail: `a file may have ${limit} bytes`,
});
