import { expect, test } from 'vitest';
import { TEXT_FILE } from '../src/train/open-worker.ts';
import { partOfMobyDick, textFile } from '../src/train/text-file.ts';

test('the part begins where the story does, and is as long as was asked for', async () => {
  const part = await partOfMobyDick(1000);
  expect(part).toHaveLength(1000);
  expect(part).toMatch(/^CHAPTER 1\b[\s\S]{1,60}Call me Ishmael\./);
});

test('the built site has it as a file, and the server that one writes with gives it', async () => {
  const files: { fileName: string; source: string }[] = [];
  const plugin = textFile();
  await plugin.generateBundle.call({ emitFile: (file) => String(files.push(file)) });
  expect(files.map(({ fileName, source }) => [fileName, source.length])).toEqual([[TEXT_FILE, 200_000]]);

  const paths: string[] = [];
  const sent = await new Promise((done) =>
    plugin.configureServer({
      config: { base: '/here/' },
      middlewares: {
        use(path, handler) {
          paths.push(path);
          const response = { setHeader() {}, end: done };
          handler({} as never, response as never);
        },
      },
    }),
  );
  expect(paths).toEqual([`/here/${TEXT_FILE}`]);
  expect(sent).toBe(files[0]?.source);
});
