import { join } from 'node:path';
import { startProgram } from '../program.ts';

/** `node host.ts <port> <log>`: a launcher that starts `tree.ts` and then has nothing more to do. */
const [port = '', log = ''] = process.argv.slice(2);
const program = await startProgram({
  command: process.execPath,
  args: [join(import.meta.dirname, 'tree.ts'), port],
  cwd: import.meta.dirname,
  env: process.env,
  log,
});
await program.exited;
