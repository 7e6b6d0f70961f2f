/**
 * The text of --help: every setting with its default, what it does and which values it takes, in columns, by section.
 */
import { type ConfigSchema, type Shape, settingsOf, wanted } from './settings.ts';

const maxColumns = 100;

/** What --help tells of. */
export interface Command {
  /** What the user types, up to the settings: 'npm start --'. */
  readonly name: string;
  /** What the command does, in a sentence or a few lines. */
  readonly usage: string;
  /** Its settings, with their descriptions. */
  readonly schema: ConfigSchema;
}

/** The whole help text, without a last newline. */
export function helpOf({ name, usage, schema }: Command): string {
  const settings = settingsOf(schema);
  const general = [
    row('config', { description: 'A JSON file of settings; what is given on the command line goes before it.' }),
    ['--help', '', 'Prints this.'],
    ['--schema', '', 'FILE: writes these settings as a JSON schema, for editors.'],
  ];
  const rows = [...general, ...[...settings].map(([key, shape]) => row(key, shape))];
  const widths = [0, 1].map((column) => Math.max(...rows.map((cells) => cells[column]?.length ?? 0)));
  const sections = groupsOf(settings).map(([title, keys]) => {
    const lines = keys.map(([key, shape]) => columns(row(key, shape), widths));
    return [`${title}:`, ...lines].join('\n');
  });
  const first = general.map((cells) => columns(cells, widths)).join('\n');
  return [`${name} [--config FILE] [--key value ...]`, usage, first, ...sections].join('\n\n');
}

/** Settings by section: one whose meta data name a group begins it, and those after it belong to it too. */
function groupsOf(settings: ReadonlyMap<string, Shape>): [string, [string, Shape][]][] {
  const groups = new Map<string, [string, Shape][]>();
  let title = 'Settings';
  for (const [key, shape] of settings) {
    title = shape.group ?? title;
    groups.set(title, [...(groups.get(title) ?? []), [key, shape]]);
  }
  return [...groups];
}

/** The three cells of a setting: its flag, its default, and what it does with the values that would do. */
function row(key: string, shape: Shape): string[] {
  const value = Array.isArray(shape.default) ? shape.default.join(',') : String(shape.default ?? '');
  const says = (shape.description ?? '').replace(/\.$/, '');
  return [`--${key}`, value, `${[says, allowed(shape)].filter(Boolean).join(': ')}.`];
}

/** The values that would do, where that isn't plain. */
function allowed(shape: Shape): string {
  const values = wanted(shape);
  if (values === 'text' || values === 'true or false') return '';
  if (shape.type === 'array') return 'several with commas between';
  return shape.const === undefined ? values : `only ${values} for now`;
}

/** Sets cells side by side; the last is broken into lines that keep to its column. */
function columns(cells: readonly string[], widths: readonly number[]): string {
  const head = `  ${widths.map((width, i) => (cells[i] ?? '').padEnd(width)).join('  ')}  `;
  const lines = wrap(cells[widths.length] ?? '', Math.max(30, maxColumns - head.length));
  return lines.map((line, i) => `${i === 0 ? head : ' '.repeat(head.length)}${line}`.trimEnd()).join('\n');
}

/** Breaks a text between words into lines of at most `width` characters; a longer word has a line of its own. */
function wrap(text: string, width: number): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const last = lines[lines.length - 1] ?? '';
    const longer = last === '' ? word : `${last} ${word}`;
    if (longer.length <= width || last === '') lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}
