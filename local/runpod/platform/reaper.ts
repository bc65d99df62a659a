import { spawn } from 'node:child_process';

/**
 * Reads `+<pid>` (watch this process group) and `-<pid>` (it is gone) line by line; at the end of its input it kills
 * every group that is left.
 */
const REAPER = `
groups=""
while read -r line; do
  case $line in
    +*) groups="$groups \${line#+}" ;;
    -*) left=""
        for group in $groups; do [ "$group" = "\${line#-}" ] || left="$left $group"; done
        groups=$left ;;
  esac
done
for group in $groups; do kill -KILL -"$group" 2>/dev/null; done
`;

/**
 * A small shell that outlives a killed platform. It reads every worker's process group from its stdin. When that pipe closes
 * (the platform has ended, even by `kill -9`), it kills the remaining groups and ends.
 */
export interface Reaper {
  watch(pid: number): void;
  forget(pid: number): void;
  /** Kills the remaining groups. Resolves when the shell has ended. */
  close(): Promise<void>;
}

interface Shell {
  tell: (line: string) => void;
  close: () => Promise<void>;
}

/** The shell itself is started with the first process it has to watch. */
export function startReaper(): Reaper {
  let shell: Shell | null = null;
  return {
    watch(pid) {
      shell ??= startShell();
      shell.tell(`+${pid}`);
    },
    forget(pid) {
      shell?.tell(`-${pid}`);
    },
    async close() {
      await shell?.close();
    },
  };
}

function startShell(): Shell {
  const child = spawn('sh', ['-c', REAPER, 'local-runpod-reaper'], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // A Ctrl-C in the terminal must not end it before its work.
    detached: true,
  });
  // Whatever becomes of the shell, the platform goes on.
  child.stdin.on('error', () => {});
  child.unref();
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  return {
    tell: (line) => child.stdin.write(`${line}\n`),
    close() {
      child.stdin.end();
      return ended;
    },
  };
}
