/** The site's look: VitePress's own, KaTeX's style sheet, and the components that pages may use. */
import 'katex/dist/katex.min.css';
import type { Theme } from 'vitepress';
import DefaultTheme from 'vitepress/theme';
import { registerFigures } from './figures/register.ts';

export default {
  extends: DefaultTheme,
  enhanceApp: ({ app }) => registerFigures(app),
} satisfies Theme;
