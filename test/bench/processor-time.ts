import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * Processor time that the workerd processes of a group have used so far, in ms; null where the system does not tell (it has
 * no `/proc`). In a gateway of `local/stack/gateway.ts` that is the gateway, the local D1 and R2, and wrangler's proxy.
 */
export function workerdMs(group: number): number | null {
  try {
    const processes = execFileSync('pgrep', ['-g', String(group), 'workerd'], { encoding: 'utf8' })
      .trim()
      .split('\n');
    const perSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
    const ticks = processes.map((pid) => {
      // After the name, which may hold spaces: fields 14 and 15 of the line, user and system.
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
      return Number(fields[11]) + Number(fields[12]);
    });
    return (ticks.reduce((sum, one) => sum + one, 0) / perSecond) * 1000;
  } catch {
    return null;
  }
}
