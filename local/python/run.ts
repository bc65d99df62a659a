import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { ensureEnvironment } from './environment.ts';

/** The Python projects of this repository, by folder. Each has its own `pyproject.toml`. */
const PROJECTS = ['worker-gpu', 'local/comfyui'];

/** Tests run in twice as many processes as the machine has processors: most of a test's time is waiting for a program. */
const PARALLEL = ['-n', String(2 * availableParallelism())];

const root = resolve(import.meta.dirname, '../..');

/** One program to run in a project's folder. */
interface Step {
  project: string;
  command: string;
  args: string[];
}

/**
 * The steps of a task, in order.
 *
 * `pytest`: the tests of every project; with `TEST_REPORTS` set, a JUnit file per project goes there.
 * `check`: Dockerfile and scripts of the image, then lint, format and types. `format`: rewrites what `check` would refuse, where a tool can.
 */
function stepsOf(task: string, python: string, reports: string | undefined): Step[] | null {
  const ruff = (project: string, ...args: string[]): Step => ({
    project,
    command: python,
    args: ['-m', 'ruff', ...args],
  });
  switch (task) {
    case 'pytest':
      return PROJECTS.map((project) => ({
        project,
        command: python,
        args: [
          '-m',
          'pytest',
          ...PARALLEL,
          ...(reports === undefined
            ? []
            : [`--junitxml=${join(reports, `pytest-${project.replaceAll('/', '-')}.xml`)}`]),
        ],
      }));
    case 'check':
      return [
        ...imageSteps(python),
        ...PROJECTS.flatMap((project) => [
          ruff(project, 'check'),
          ruff(project, 'format', '--check'),
          {
            project,
            command: process.execPath,
            args: [join(root, 'node_modules/pyright/index.js'), '--pythonpath', python],
          },
        ]),
      ];
    case 'format':
      return PROJECTS.flatMap((project) => [ruff(project, 'check', '--fix', '--exit-zero'), ruff(project, 'format')]);
    default:
      return null;
  }
}

/** What can be checked of the image without an engine: its Dockerfile and its scripts. */
function imageSteps(python: string): Step[] {
  const programs = dirname(python);
  const scripts = readdirSync(join(root, 'worker-gpu/image')).filter((name) => name.endsWith('.sh'));
  return [
    { project: 'worker-gpu', command: join(programs, 'hadolint'), args: ['Dockerfile'] },
    {
      project: 'worker-gpu',
      command: join(programs, 'shellcheck'),
      args: scripts.sort().map((name) => join('image', name)),
    },
  ];
}

/** Runs every step, also after a failure, so that one run shows all failures. Returns the exit code. */
function runSteps(steps: Step[]): number {
  let worst = 0;
  for (const { project, command, args } of steps) {
    const program = basename(command);
    console.log(
      `${project}: ${/^(?:python|node)/.test(program) ? '' : `${program} `}${args.filter((arg) => !arg.startsWith('/') && arg !== '-m' && !arg.startsWith('--')).join(' ') || 'pyright'}`,
    );
    const { status } = spawnSync(command, args, {
      cwd: join(root, project),
      stdio: 'inherit',
      env: { ...process.env, PYRIGHT_PYTHON_IGNORE_WARNINGS: '1' },
    });
    worst = Math.max(worst, status ?? 1);
  }
  return worst;
}

const environment = await ensureEnvironment({ root, report: (line) => console.error(line) });
if (!environment.ok) {
  console.error([...environment.details, environment.message].join('\n'));
  process.exitCode = 1;
} else {
  const reports = process.env['TEST_REPORTS'];
  if (reports !== undefined) {
    mkdirSync(reports, { recursive: true });
  }
  const steps = stepsOf(process.argv[2] ?? '', environment.value.python, reports);
  if (steps === null) {
    console.error('Usage: node local/python/run.ts pytest|check|format');
    process.exitCode = 2;
  } else {
    process.exitCode = runSteps(steps);
  }
}
