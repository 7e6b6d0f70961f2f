/** What pictures have in common: scales, round numbers for axes, and text that can't break the file. */

/** From a value to a place in the picture, in pixels. */
export type Scale = (value: number) => number;

/** A place to a tenth of a pixel. */
export const px = (value: number): string => String(Number(value.toFixed(1)));
const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };
export const escaped = (text: string): string => text.replace(/[&<>"]/g, (sign) => entities[sign] ?? sign);

/** The straight line that takes `low` to `from` and `high` to `to`. */
export const scale =
  ([low, high]: readonly [number, number], [from, to]: readonly [number, number]): Scale =>
  (value) =>
    from + ((value - low) / (high - low || 1)) * (to - from);

/** The round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, at most about `count`. */
export function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((digit) => digit * power >= rough * 0.999) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

export interface Picture {
  readonly title: string;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Rules for the classes that the parts use, and for `card`, the background, and `title`. */
  readonly style: string;
}

/** A whole file: a card with its title, and the parts on it. */
export function picture({ title, width, height, style }: Picture, parts: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img"`,
    ` aria-label="${escaped(title)}">`,
    `<style>${style}\n</style>`,
    `<rect class="card" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="10"/>`,
    `<text class="title" x="24" y="38">${escaped(title)}</text>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n');
}
