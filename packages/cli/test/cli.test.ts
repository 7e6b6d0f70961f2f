import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UserError } from '@fourfold/runtime/errors';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { z } from 'zod';
import { HelpWanted, jsonSchemaOf, readConfig } from '../src/cli.ts';
import { command } from './example.ts';

const defaults = {
  model: 'tiny',
  seqLength: 128,
  tp: 1,
  learningRate: 0.001,
  threads: 'auto',
  shuffle: true,
  data: [],
};

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fourfold-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A configuration file with this text, by its path. */
function fileOf(text: string): string {
  const path = join(folder, 'run.json');
  writeFileSync(path, text);
  return path;
}

const read = (...argv: string[]) => readConfig({ ...command, argv });

test('a list is one word with commas, or several words', () => {
  expect(read('--data', 'a,b').data).toEqual(['a', 'b']);
  const { data, seqLength } = read('--data', 'a', 'b', 'c', '--seqLength', '64');
  expect([data, seqLength]).toEqual([['a', 'b', 'c'], 64]);
  expect(refusal('--seqLength', '64', '3')).toBe('3 is not a setting: write --key value');
});

/** The sentence with which a command line is refused. */
function refusal(...argv: string[]): string {
  try {
    read(...argv);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  throw new Error(`${argv.join(' ')} was accepted`);
}

test('without flags every setting has its default', () => {
  expect(read()).toEqual(defaults);
});

test('flags in all spellings', () => {
  expect(read('--seqLength', '64', '--learningRate=3e-4', '--data', 'a.txt,b.txt')).toEqual({
    ...defaults,
    seqLength: 64,
    learningRate: 3e-4,
    data: ['a.txt', 'b.txt'],
  });
  expect(read('--seq-length', '64').seqLength).toBe(64);
  expect(read('--threads', '2').threads).toBe(2);
  expect(read('--metrics=a=b').metrics).toBe('a=b');
});

test.each([
  [['--shuffle'], true],
  [['--no-shuffle'], false],
  [['--shuffle', 'false'], false],
  [['--shuffle=false'], false],
  [['--no-shuffle', '--tp', '1'], false],
])('%j turns shuffling on or off', (argv, expected) => {
  expect(read(...argv).shuffle).toBe(expected);
});

test('a flag goes before the file, and the file before the default', () => {
  const path = fileOf('{"$schema": "./schema.json", "seqLength": 32, "shuffle": false, "threads": 4}');
  expect(read('--threads', '8', '--config', path)).toEqual({ ...defaults, seqLength: 32, shuffle: false, threads: 8 });
});

test.each([
  [['--seqLenght', '64'], '--seqLenght is not a setting: did you mean --seqLength?'],
  [['--banana', '64'], '--banana is not a setting: --help lists those there are'],
  [['--no-seqLength'], '--no-seqLength is not a setting: did you mean --seqLength?'],
  [['--__proto__', '1'], '--__proto__ is not a setting: --help lists those there are'],
  [['--tp', '3'], '--tp 3: only 1 works here'],
  [['--seqLength', '0'], '--seqLength 0: use a whole number of at least 1'],
  [['--seqLength', '1.5'], '--seqLength 1.5: use a whole number of at least 1'],
  [['--seqLength', 'long'], '--seqLength long: use a whole number of at least 1'],
  [['--seqLength='], "--seqLength '': use a whole number of at least 1"],
  [['--learningRate', '-1'], '--learningRate -1: use a number above 0 and of at most 1'],
  [['--learningRate', 'NaN'], '--learningRate NaN: use a number above 0 and of at most 1'],
  [['--model', 'huge'], '--model huge: use one of tiny, SmolLM-135M'],
  [['--threads', 'few'], '--threads few: use auto or a whole number from 1 to 64'],
  [['--shuffle=maybe'], '--shuffle maybe: use true or false'],
  [['--seqLength'], '--seqLength has no value: use a whole number of at least 1'],
  [['--seqLength', '--tp', '1'], '--seqLength has no value: use a whole number of at least 1'],
  [['--tp', '1', '--tp', '1'], '--tp is given twice, 1 and 1: give it once'],
  [['--shuffle', '--no-shuffle'], '--shuffle is given twice, true and false: give it once'],
  [['steps'], 'steps is not a setting: write --key value'],
  [['--shuffle', 'maybe'], 'maybe is not a setting: write --key value'],
  [['--seqLength', '512'], 'seqLength=512 is beyond model tiny: use at most 256'],
])('%j is refused in one sentence', (argv, sentence) => {
  expect(refusal(...argv)).toBe(sentence);
});

test('a file is refused in one sentence that names it', () => {
  const inFile = (text: string): string => {
    const path = fileOf(text);
    return refusal('--config', path).replaceAll(path, 'FILE');
  };
  expect(inFile('{"seqLenght": 64}')).toBe('"seqLenght" in FILE is not a setting: did you mean seqLength?');
  expect(inFile('{"__proto__": 64}')).toBe('"__proto__" in FILE is not a setting: --help lists those there are');
  expect(inFile('{"seqLength": "64"}')).toBe('"seqLength": "64" in FILE: use a whole number of at least 1');
  expect(inFile('{"tp": 3}')).toBe('"tp": 3 in FILE: only 1 works here');
  expect(inFile('{"shuffle": 1}')).toBe('"shuffle": 1 in FILE: use true or false');
  expect(inFile('{"data": ["a", 3]}')).toBe('"data": ["a",3] in FILE: use text, or several with commas between');
  expect(inFile('[1]')).toBe('--config FILE holds no settings: write them as {"key": value, ...}');
  expect(inFile('null')).toBe('--config FILE holds no settings: write them as {"key": value, ...}');
  expect(inFile('{"tp": 1')).toMatch(/^--config FILE is not valid JSON: .+/);
  expect(refusal('--config', 'nowhere.json')).toBe(
    '--config nowhere.json: there is no such file; name a JSON file of settings',
  );
  expect(refusal('--config', folder)).toMatch(/: EISDIR.*; name a JSON file of settings$/);
  expect(refusal('--config')).toBe('--config has no value: use a JSON file');
});

test('a setting without default is asked for', () => {
  const schema = z.object({ checkpoint: z.string().describe('The folder to load from.') });
  const read = () => readConfig({ ...command, schema, argv: [] });
  expect(read).toThrow(new UserError('--checkpoint is needed: The folder to load from.'));
});

test('help is asked for anywhere, whatever else is wrong', () => {
  expect(() => read('--banana', '--help')).toThrow(HelpWanted);
  expect(() => read('-h')).toThrow(/^example \[--config FILE\]/);
});

test('--schema FILE writes the JSON schema instead of running', () => {
  const path = join(folder, 'schema.json');
  expect(() => read('--schema', path)).toThrow(new HelpWanted(`Wrote ${path}`));
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(jsonSchemaOf(command.schema));
  expect(refusal('--schema')).toBe('--schema needs the name of the file to write');
  expect(refusal('--schema', folder)).toMatch(/^--schema .* can't be written: EISDIR/);
});

/** Runs a command whose body is this code, in a process of its own. */
function runCommand(body: string): Promise<{ code: number; stdout: string; stderr: string }> {
  const cli = new URL('../src/cli.ts', import.meta.url).href;
  const errors = new URL('../../runtime/src/errors.ts', import.meta.url).href;
  const imports = `import { HelpWanted, runMain } from '${cli}'; import { UserError } from '${errors}';`;
  const program = `${imports} await runMain(async () => { ${body} });`;
  return new Promise((resolve) => {
    execFile(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], (error, stdout, stderr) =>
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }),
    );
  });
}

test("a user's error is one line on stderr and exit code 2, even while something still runs", async () => {
  const body = "setInterval(() => {}, 1000); throw new UserError('tp=3 does not divide 8 heads');";
  expect(await runCommand(body)).toEqual({ code: 2, stdout: '', stderr: 'tp=3 does not divide 8 heads\n' });
});

test('help is on stdout and exit code 0; a defect shows its stack and exit code 1', async () => {
  expect(await runCommand("throw new HelpWanted('how to');")).toEqual({ code: 0, stdout: 'how to\n', stderr: '' });
  const defect = await runCommand("throw new TypeError('x is not a tensor');");
  expect(defect.code).toBe(1);
  expect(defect.stderr).toMatch(/^TypeError: x is not a tensor\n\s+at /);
});
