/**
 * The site's settings. `npx nx run docs:dev` serves it, `docs:build` writes it to .vitepress/dist.
 *
 * What the sidebar lists comes from one file for each part of the site, in docs/src/sidebar. A dead link, to a page, an
 * anchor or a file of the repository, stops the build.
 */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path/posix';
import { katex } from '@mdit/plugin-katex';
import { defineConfig } from 'vitepress';
import { readEntries } from '../src/api/entries.ts';
import { checkLinks } from '../src/dead-links.ts';
import { repositoryLinks } from '../src/links.ts';
import { picturesAsFences } from '../src/pictures.ts';
import { apiSidebar } from '../src/sidebar/api.ts';
import { chapterSidebar } from '../src/sidebar/chapters.ts';
import { howToSidebar } from '../src/sidebar/how-to.ts';
import { walkSidebars } from '../src/sidebar/walk.ts';
import { repository, root } from '../src/site.ts';
import { textFile } from '../src/train/text-file.ts';
import { colouredFence } from '../src/walk/colours.ts';
import { sectionsOf } from '../src/walk/search.ts';

/** An equation of its own line may be wider than a phone: it scrolls, by keyboard too. */
const equation = (html: string, display: boolean): string =>
  display ? html.replace(/^<p class='katex-block/, '<p tabindex="0" class=\'katex-block') : html;

/** By its name alone VitePress would ask a stranger's server for it. */
const github = { svg: readFileSync(`${root}/docs/.vitepress/github.svg`, 'utf8') };

/** What pages load later. Unlisted, the first page that does is loaded anew by docs:dev, and what trains in it is gone. */
const later = ['tfjs-core', 'tfjs-backend-wasm', 'tfjs-backend-webgpu'].map((name) => `@tensorflow/${name}`);

export default defineConfig({
  title: 'Fourfold',
  description: 'Distributed training of language models, in TypeScript files short enough to read over coffee.',
  srcExclude: ['node_modules', 'src', 'test', 'results'],
  cleanUrls: false,
  lastUpdated: false,
  markdown: {
    config: (md) =>
      md
        .use(katex as never, { transformer: equation })
        .use(repositoryLinks)
        .use(picturesAsFences),
    highlight: colouredFence,
  },
  transformHead: ({ siteConfig }) => [
    ['link', { rel: 'icon', type: 'image/svg+xml', href: `${siteConfig.site.base}logo.svg` }],
  ],
  vite: {
    build: { target: 'es2022' },
    optimizeDeps: { include: ['zod', ...later] },
    plugins: [textFile() as never],
    worker: { format: 'es' },
    resolve: { alias: [{ find: /^.*\/VPHome\.vue$/, replacement: `${root}/docs/.vitepress/theme/Home.vue` }] },
  },
  buildEnd: ({ outDir, site }) => checkLinks(outDir, site.base),
  themeConfig: {
    logo: '/logo.svg',
    search: {
      provider: 'local',
      options: { miniSearch: { _splitIntoSections: (path) => sectionsOf(relative(`${root}/docs`, path)) as never } },
    },
    nav: [
      { text: 'Learn', link: '/chapters/' },
      { text: 'Code', link: '/walk/' },
      { text: 'Figures', link: '/figures' },
      { text: 'Train here', link: '/train' },
      { text: 'How to', link: '/how-to' },
      { text: 'API', link: '/api/' },
    ],
    sidebar: {
      '/chapters/': chapterSidebar(),
      ...walkSidebars(),
      '/api/': apiSidebar(readEntries(root)),
      '/': howToSidebar(),
    },
    outline: [2, 3],
    externalLinkIcon: true,
    socialLinks: [{ icon: github, link: repository, ariaLabel: 'The repository' }],
    footer: { message: 'Apache-2.0. Moby-Dick is in the public domain.' },
    notFound: {
      title: 'There is no such page',
      quote: 'It may have moved. The list of files and the search find what there is.',
    },
  },
});
