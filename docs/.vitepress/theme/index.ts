/**
 * The site's look: VitePress's own without its fonts, what the style sheets here change, KaTeX's for equations, and the
 * components that pages may use.
 */
import DefaultTheme from 'vitepress/theme-without-fonts';
import 'katex/dist/katex.min.css';
import './look.css';
import './walk.css';
import type { Theme } from 'vitepress';
import { registerFigures } from './figures/register.ts';
import { useShownLine } from './shown-line.ts';
import { registerTraining } from './train/register.ts';

export default {
  extends: DefaultTheme,
  setup: useShownLine,
  enhanceApp({ app }) {
    registerFigures(app);
    registerTraining(app);
  },
} satisfies Theme;
