/**
 * The chapters in the order in which they are read: what the sidebar lists beside them. docs/chapters/index.md says how
 * long each takes.
 */
import type { DefaultTheme } from 'vitepress';

/** Each chapter's file in docs/chapters and its title. */
export const CHAPTERS: readonly (readonly [file: string, title: string])[] = [
  ['idea', 'The idea'],
  ['collectives', 'Collectives and meshes'],
  ['data', 'Data parallelism'],
  ['tensor', 'Tensor parallelism'],
  ['pipeline', 'Pipeline parallelism'],
  ['context', 'Context parallelism'],
  ['together', 'All four at once'],
  ['runtime', 'From tfjs to CUDA'],
  ['numbers', 'Numbers'],
  ['traces', 'How to read a trace'],
  ['run', 'A run, from config to chat'],
  ['speed', 'What limits a step'],
  ['inference', 'One model on ordinary machines'],
];

const itemOf = ([file, title]: (typeof CHAPTERS)[number], i: number) => ({
  text: `${i + 1}. ${title}`,
  link: `/chapters/${file}`,
});

/** The sidebar: the idea, the dimensions, the machine below them, and how to use it all. */
export function chapterSidebar(): DefaultTheme.SidebarItem[] {
  const items = CHAPTERS.map(itemOf);
  return [
    { text: 'Read in order', link: '/chapters/' },
    { text: 'Ideas', items: items.slice(0, 2) },
    { text: 'Four dimensions', items: items.slice(2, 7) },
    { text: 'Below and beside', items: items.slice(7, 10) },
    { text: 'In use', items: items.slice(10) },
    { text: 'Glossary', link: '/glossary' },
  ];
}
