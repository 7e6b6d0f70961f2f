/**
 * What the sidebar lists beside the walkthroughs: every package as a link, and the files of the one that is open. With
 * all files of all packages on all of their pages the site would be half as large again.
 */
import type { DefaultTheme } from 'vitepress';
import { type Group, groups, linkOf, shortOf } from '../walk/files.ts';

const filesOf = ({ title, files }: Group): DefaultTheme.SidebarItem[] =>
  files.map((file) => ({ text: shortOf(file).slice(title.length + 1), link: linkOf(file) }));

/** Sidebars by the beginning of a page's address. */
export function walkSidebars(): DefaultTheme.SidebarMulti {
  const all = groups();
  const listed = (open?: Group): DefaultTheme.SidebarItem[] => [
    { text: 'All files', link: '/walk/' },
    ...all.map((group) => ({
      text: group.title,
      link: `/walk/#${group.title}`,
      ...(group === open ? { items: filesOf(group) } : {}),
    })),
  ];
  return { '/walk/': listed(), ...Object.fromEntries(all.map((group) => [`/walk/${group.title}/`, listed(group)])) };
}
