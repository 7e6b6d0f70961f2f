/** What the sidebar lists beside the API's pages: a line for each package, and below it those of its other entries. */
import type { DefaultTheme } from 'vitepress';
import type { Entry } from '../api/entries.ts';

const item = ({ name, page }: Entry): DefaultTheme.SidebarItem => ({
  text: name.replace('@fourfold/', ''),
  link: `/api/${page}`,
});

/** `entries` by package, in their order; a package's first entry is the package itself. */
export function apiSidebar(entries: readonly Entry[]): DefaultTheme.SidebarItem[] {
  const others = (name: string): Entry[] =>
    entries.filter((entry) => entry.packageName === name && entry.name !== name);
  const packages = entries.filter(({ name, packageName }) => name === packageName);
  return packages.map((entry) => {
    const items = others(entry.name).map(item);
    return items.length > 0 ? { ...item(entry), items, collapsed: true } : item(entry);
  });
}
