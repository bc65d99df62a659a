import { spawn } from 'node:child_process';
import { connect } from 'node:net';

/**
 * `node tree.ts <port> [stubborn]`: a program with a child; both hold a connection to the test until they end, and say their name
 * on it first. `stubborn` ignores SIGTERM.
 */
const [port = '', manner = '', name = 'parent'] = process.argv.slice(2);
if (manner === 'stubborn') {
  process.on('SIGTERM', () => undefined);
}
if (name === 'parent') {
  spawn(process.execPath, [import.meta.filename, port, manner, 'child'], { stdio: 'inherit' });
}
console.log(`${name} was here`);
connect(Number(port), '127.0.0.1').write(`${name}\n`);
