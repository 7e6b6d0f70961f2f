/**
 * Rows of text as a table for a terminal: each column as wide as its widest cell, numbers at the right.
 *
 *     run     state      tok/s
 *     micro   completed  1.32K
 */

const isNumber = (cell: string): boolean => /^-?[\d.]+([KMBT%]| [KMG]?B)?$/.test(cell);

/** The table, without a last newline. The first row has the columns' names. */
export function table(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  const right = head.map((_, column) => {
    const cells = rows.slice(1).map((row) => row[column] ?? '');
    return cells.every((cell) => cell === '' || isNumber(cell));
  });
  const line = (row: readonly string[]): string =>
    widths
      .map((width, i) => (right[i] ? (row[i] ?? '').padStart(width) : (row[i] ?? '').padEnd(width)))
      .join('  ')
      .trimEnd();
  return rows.map(line).join('\n');
}
