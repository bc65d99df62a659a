import * as z from './exports.ts';

/** `zod` in the bundle (`alias` in wrangler.jsonc). Code imports `zod`. */
export * from './exports.ts';
export { z };
