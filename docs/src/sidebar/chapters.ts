/** What the sidebar lists beside the pages of this part. */
import type { DefaultTheme } from 'vitepress';

export const chapterSidebar = (): DefaultTheme.SidebarItem[] => [];
