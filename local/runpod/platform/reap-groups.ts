/**
 * The helper `reaper.ts` starts. Reads `+<pid>` (watch this process group) and `-<pid>` (it is gone) line by line
 * from stdin; at the end of stdin it kills every group that is left and ends.
 */
import { createInterface } from 'node:readline';

const groups = new Set<number>();

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const pid = Number(line.slice(1));
    if (line.startsWith('+')) {
      groups.add(pid);
    } else {
      groups.delete(pid);
    }
  })
  .on('close', () => {
    for (const pid of groups) {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // Already gone.
      }
    }
  });
