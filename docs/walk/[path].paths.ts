/** VitePress asks here which walkthrough pages there are, and what each shows. */
import { addressOf } from '../src/site.ts';
import { groups, shortOf } from '../src/walk/files.ts';
import { htmlOfIndex, htmlOfPage, readPage } from '../src/walk/page.ts';

const introduction = `# The code, walked through

Each source file has a page: on the left what its comments say, on the right the code below them, with the file's own
line numbers. The pages are made from the files, and every line of a file is there.
`;

const headOf = (file: string, lines: number): string =>
  `# ${file.split('/').at(-1)}\n\n[${file}](${addressOf(file)}), ${lines} lines\n`;

function paths() {
  const files = groups().flatMap((group) => group.files);
  const walked = new Set(files);
  const pages = files.map((file) => {
    const page = readPage(file);
    const lines = page.parts.at(-1)?.blank.to ?? 0;
    return { params: { path: shortOf(file), html: htmlOfPage(page, walked) }, content: headOf(file, lines) };
  });
  return [{ params: { path: 'index', html: htmlOfIndex() }, content: introduction }, ...pages];
}

export default { paths };
