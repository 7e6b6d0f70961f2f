/**
 * `npm test`: sets everything up, then lints, type-checks and tests every project of the workspace.
 *
 * `npm test -- --proofs` also runs what takes minutes: the targets called proof. What else follows `--` goes to nx:
 * `npm test -- --projects=ops`, `npm test -- --skip-nx-cache`. Linting and type-checking run two at a time; tests run
 * one project after another, because some measure time. The last line counts: each test that vitest ran, and one check
 * for each project linted and each type-checked. Results are nx outputs, so a project replayed from the cache counts
 * like one that ran.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { nx, prepare, root, runNode } from './prepare.mjs';
import { summarize, tally } from './tally.mjs';

const cache = join(root, '.nx/cache');
const flags = process.argv.slice(2).filter((flag) => flag !== '--proofs');
const proofs = process.argv.includes('--proofs');
const settings = { NX_DAEMON: 'false', NX_NO_CLOUD: 'true', FORCE_COLOR: process.stdout.isTTY ? '1' : '0' };

/** Where each project of the workspace lies, as nx sees it: { ops: 'packages/ops', ... }. */
function projectRoots() {
  const file = join(cache, 'graph.json');
  execFileSync(process.execPath, [nx, 'graph', `--file=${file}`], {
    cwd: root,
    env: { ...process.env, ...settings },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const { nodes } = JSON.parse(readFileSync(file, 'utf8')).graph;
  return Object.fromEntries(Object.entries(nodes).map(([name, node]) => [name, node.data.root]));
}

/** Runs the targets on every project; nx leaves what became of each task in run.json. */
async function runTargets(targets, parallel) {
  const record = join(cache, 'run.json');
  rmSync(record, { force: true });
  const how = [`--targets=${targets}`, `--parallel=${parallel}`, '--output-style=stream'];
  const code = await runNode([nx, 'run-many', ...how, ...flags], settings);
  if (code > 128) process.exit(code);
  try {
    return JSON.parse(readFileSync(record, 'utf8')).tasks;
  } catch {
    return [{ taskId: `nx run-many --targets=${targets}`, status: code || 1 }];
  }
}

const REPORTS = { test: '.results/tests.json', proof: '.results/proofs.json' };

/** What vitest wrote about a project; undefined where it wrote nothing. */
function reportOf(folder, target) {
  try {
    return JSON.parse(readFileSync(join(root, folder, REPORTS[target]), 'utf8'));
  } catch {
    return undefined;
  }
}

await prepare();
mkdirSync(cache, { recursive: true });
const roots = projectRoots();
// A report of an earlier run must not count: nx brings back those of the projects that it replays.
for (const folder of Object.values(roots))
  for (const report of Object.values(REPORTS)) rmSync(join(root, folder, report), { force: true });
const tasks = [...(await runTargets('lint,typecheck', 2)), ...(await runTargets('test', 1))];
if (proofs) tasks.push(...(await runTargets('proof', 1)));
const results = tally(tasks, (project, target) => reportOf(roots[project], target));
console.log(summarize(results).join('\n'));
process.exitCode = results.some(({ failures }) => failures.length > 0) ? 1 : 0;
