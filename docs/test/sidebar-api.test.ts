import { expect, test } from 'vitest';
import type { Entry } from '../src/api/entries.ts';
import { apiSidebar } from '../src/sidebar/api.ts';

const entry = (packageName: string, path = ''): Entry => {
  const name = `@fourfold/${packageName}${path}`;
  const page = `${packageName}${path}`.replaceAll('/', '.');
  return { name, packageName: `@fourfold/${packageName}`, file: `/${name}.ts`, opening: '', page };
};

test('a line for each package, its other entries folded below it', () => {
  expect(apiSidebar([entry('cli'), entry('runtime'), entry('runtime', '/errors')])).toEqual([
    { text: 'cli', link: '/api/cli' },
    {
      text: 'runtime',
      link: '/api/runtime',
      items: [{ text: 'runtime/errors', link: '/api/runtime.errors' }],
      collapsed: true,
    },
  ]);
});
