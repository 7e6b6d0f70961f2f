/** The site's look: VitePress's own without its fonts, what the style sheets here change, and KaTeX's for equations. */
import DefaultTheme from 'vitepress/theme-without-fonts';
import 'katex/dist/katex.min.css';
import './look.css';
import './walk.css';
import type { Theme } from 'vitepress';

export default { extends: DefaultTheme } satisfies Theme;
