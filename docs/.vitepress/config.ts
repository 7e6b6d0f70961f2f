/**
 * The site's settings. `npx nx run docs:dev` serves it, `docs:build` writes it to .vitepress/dist.
 *
 * What the sidebar lists comes from one file for each part of the site, in docs/src/sidebar.
 */
import { fileURLToPath } from 'node:url';
import { katex } from '@mdit/plugin-katex';
import { defineConfig } from 'vitepress';
import { readEntries } from '../src/api/entries.ts';
import { apiSidebar } from '../src/sidebar/api.ts';
import { chapterSidebar } from '../src/sidebar/chapters.ts';
import { howToSidebar } from '../src/sidebar/how-to.ts';
import { walkSidebar } from '../src/sidebar/walk.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

export default defineConfig({
  title: 'Fourfold',
  description: 'Distributed training of language models, in TypeScript files short enough to read over coffee.',
  srcExclude: ['node_modules', 'src', 'test', 'results'],
  cleanUrls: false,
  ignoreDeadLinks: true,
  lastUpdated: false,
  markdown: { config: (md) => md.use(katex as never), lineNumbers: false },
  themeConfig: {
    search: { provider: 'local' },
    nav: [
      { text: 'Learn', link: '/chapters/' },
      { text: 'Code', link: '/walk/' },
      { text: 'Train here', link: '/train' },
      { text: 'How to', link: '/how-to' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: {
      '/chapters/': chapterSidebar(),
      '/walk/': walkSidebar(),
      '/api/': apiSidebar(readEntries(root)),
      '/': howToSidebar(),
    },
  },
});
