/** VitePress asks here which walkthrough pages there are. */
import { groups, shortOf } from '../src/walk/files.ts';
import { markdownOfIndex, markdownOfPage, readPage } from '../src/walk/page.ts';

const pages = () => [
  { params: { path: 'index' }, content: markdownOfIndex() },
  ...groups().flatMap(({ files }) =>
    files.map((file) => ({ params: { path: shortOf(file) }, content: markdownOfPage(readPage(file)) })),
  ),
];

export default { paths: pages };
