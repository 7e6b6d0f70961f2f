/** What the sidebar lists beside the pages that say how to do something. */
import type { DefaultTheme } from 'vitepress';

export const howToSidebar = (): DefaultTheme.SidebarItem[] => [
  {
    text: 'Train',
    items: [
      { text: 'Two commands', link: '/start' },
      { text: 'Layouts and ranks', link: '/layouts' },
      { text: 'GPUs', link: '/gpus' },
      { text: 'Checkpoints', link: '/checkpoints' },
      { text: 'Models of Hugging Face', link: '/models' },
      { text: 'Plans', link: '/plan' },
      { text: 'Clusters', link: '/clusters' },
      { text: 'Speed', link: '/performance' },
    ],
  },
  {
    text: 'Text from a model',
    items: [
      { text: 'Generate and chat', link: '/generate' },
      { text: 'Serve', link: '/serve' },
      { text: 'Several machines', link: '/workers' },
      { text: 'Which models', link: '/inference-models' },
      { text: 'Kernels for weights in blocks', link: '/kernels-quantized' },
    ],
  },
];
