import { freeze } from './release.ts';

/** `npm run freeze`: part of a release, after its last change (CONTRIBUTING.md, Releases). */
await freeze();
console.log('Kept this gateway in test/skew/previous-release.js.gz.');
