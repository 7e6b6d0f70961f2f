/**
 * What `npm start` and `npm test` do first: check Node, install the JavaScript packages, set the tensor runtime up.
 *
 * Plain JavaScript without imports from node_modules, because it runs before that folder exists. Each step says what it
 * does and how long it took; a step that has nothing to do says so in one line. On a terminal the installation draws a
 * bar in place; in a pipe it prints lines.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the repository. */
export const root = fileURLToPath(new URL('..', import.meta.url));

/** Its task runner, once the packages are installed. */
export const nx = join(root, 'node_modules/nx/dist/bin/nx.js');

const stampOf = (folder) => join(folder, 'node_modules', '.fourfold-lock');
const readLock = (folder) => readFileSync(join(folder, 'package-lock.json'));
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');

/**
 * What is wrong with this version of Node, in a sentence; undefined where nothing is.
 * Lines 21 and 23 were short-lived and the test runner refuses them; 22 came to import ES modules freely with 22.12.
 */
export function nodeProblem(version) {
  const [major, minor] = version.split('.').map(Number);
  const good = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || (major >= 24 && major <= 26);
  if (good) return undefined;
  const action = major > 26 ? `is newer than any that Fourfold was tried on` : `can't run Fourfold`;
  return `Node ${version} ${action}: use 20.19 or later of line 20, 22.12 or later of line 22, or 24 to 26.`;
}

/** Whether node_modules is what package-lock.json asks for: the last install left the lock's hash there. */
export function packagesAreCurrent(folder) {
  try {
    return readFileSync(stampOf(folder), 'utf8') === digest(readLock(folder));
  } catch {
    return false;
  }
}

/** How many packages of the lock file npm downloads here: those without a platform, and those for this one. */
export function packagesToFetch(lock, platform = process.platform, arch = process.arch) {
  const fits = (list, here) => !list || list.includes(here);
  const entries = Object.entries(lock.packages).filter(
    ([path, entry]) => path.includes('node_modules/') && !entry.link,
  );
  return entries.filter(([, entry]) => fits(entry.os, platform) && fits(entry.cpu, arch)).length;
}

/** What made `npm ci` fail, in a sentence where the cause is known and else npm's own words. */
export function explainInstall(output) {
  const network = /\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ERR_SOCKET_TIMEOUT)\b/.exec(
    output,
  );
  if (network) {
    const action = 'connect to the network, or name a mirror with `npm config set registry URL`';
    return `The package registry can't be reached (${network[1]}): ${action}, and start again.`;
  }
  if (/\bENOSPC\b/.test(output))
    return 'The disk is full (ENOSPC): the packages need 700 MB; free some space and start again.';
  const words = output.split('\n').filter((line) => !/^npm (http|warn|notice)/.test(line) && line.trim());
  return `npm ci failed:\n${words.join('\n')}`;
}

/** One line redrawn in place: how many downloads of how many, and for how long. Silent where there is no terminal. */
function installBar(total) {
  const started = Date.now();
  let fetched = 0;
  const seconds = () => Math.round((Date.now() - started) / 1000);
  const draw = () => {
    const share = Math.min(1, fetched / total);
    const bar = '█'.repeat(Math.round(share * 24)).padEnd(24, '░');
    process.stdout.write(`\r  ${bar} ${Math.round(100 * share)} %, ${seconds()} s\x1b[K`);
  };
  const timer = process.stdout.isTTY ? setInterval(draw, 200) : undefined;
  const stop = () => {
    clearInterval(timer);
    if (timer) process.stdout.write('\r\x1b[K');
  };
  return { count: (n) => (fetched += n), seconds, stop };
}

/** Installs exactly what package-lock.json says. npm's own words are kept back and shown only if it fails. */
async function installPackages() {
  if (packagesAreCurrent(root)) return console.log('[packages] the JavaScript packages are as package-lock.json asks.');
  const lock = readLock(root);
  // npm asks for each package's description, then for its files: two downloads.
  const bar = installBar(2 * packagesToFetch(JSON.parse(lock)));
  console.log('[packages] installing what package-lock.json names into node_modules (npm ci) ...');
  // Development packages are what runs the source, whatever NODE_ENV says. With http log lines npm tells each download.
  const flags = ['--include=dev', '--loglevel=http', '--prefer-offline', '--no-progress'];
  const patience = ['--fetch-retry-mintimeout=2000', '--fetch-retry-maxtimeout=10000'];
  let output = '';
  const npm = spawn('npm', ['ci', ...flags, ...patience], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  for (const stream of [npm.stdout, npm.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
      bar.count(text.split('npm http ').length - 1);
    });
  }
  const code = await ended(npm).catch((error) => {
    output += `npm itself can't be started: ${error.message}`;
    return 1;
  });
  bar.stop();
  if (code !== 0) stop(explainInstall(output), code);
  writeFileSync(stampOf(root), digest(lock));
  console.log(`[packages] installed in ${bar.seconds()} s.`);
}

/** Prints a sentence on stderr and ends this process. */
function stop(sentence, code = 2) {
  console.error(sentence);
  process.exit(code);
}

/** The exit code of a child: its own, or 128 + the number of the signal that ended it, as shells say it. */
const ended = (child) =>
  new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal]));
  });

/**
 * Runs Node with this terminal, waits for its end and returns its exit code.
 * Ctrl-C on a terminal reaches the child by itself, since the terminal signals the whole process group; everything else
 * that reaches us is sent on. We stay until the child has ended, so that what it says last is seen.
 */
export async function runNode(args, environment = {}) {
  const child = spawn(process.execPath, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...environment },
  });
  const forward = (signal) => {
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  const code = await ended(child);
  for (const signal of signals) process.off(signal, forward);
  return code;
}

/** Node, packages and, unless told otherwise, the runtime. Ends the process where one of them can't be had. */
export async function prepare({ runtime = true } = {}) {
  const problem = nodeProblem(process.versions.node);
  if (problem) stop(problem);
  await installPackages();
  if (!runtime) return;
  console.log('[runtime] looking for TensorFlow and its binding, and building them where they are missing ...');
  const code = await runNode(['--import', 'tsx', 'packages/runtime/src/setup/main.ts']);
  if (code !== 0) process.exit(code);
}
