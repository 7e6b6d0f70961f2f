/**
 * What the sidebar lists beside the walkthroughs: a group for each package, folded until one of its files is open. A
 * group's title is a link; without one VitePress would make it a button with a second one inside.
 */
import type { DefaultTheme } from 'vitepress';
import { groups, linkOf, shortOf } from '../walk/files.ts';

export const walkSidebar = (): DefaultTheme.SidebarItem[] => [
  { text: 'All files', link: '/walk/' },
  ...groups().map(({ title, files }) => ({
    text: title,
    link: `/walk/#${title}`,
    collapsed: true,
    items: files.map((file) => ({ text: shortOf(file).slice(title.length + 1), link: linkOf(file) })),
  })),
];
