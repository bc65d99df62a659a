import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { GENERATED, withPart } from './generated.ts';

/** Writes the generated parts of the documentation (`npm run docs`). */
const root = resolve(import.meta.dirname, '../..');
for (const { page, part, text } of GENERATED) {
  const file = join(root, page);
  writeFileSync(file, withPart(readFileSync(file, 'utf8'), part, text()));
}
