/** The site's look: VitePress's own, KaTeX's style sheet, and the components that pages may use. */
import 'katex/dist/katex.min.css';
import type { Theme } from 'vitepress';
import DefaultTheme from 'vitepress/theme';

export default { extends: DefaultTheme } satisfies Theme;
