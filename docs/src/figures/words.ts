/** How figures write numbers: few digits, and a unit where it has one. */

/** A number with at most two decimals. */
export const plain = (value: number): string => String(Number(value.toFixed(2)));

/** 0.3333 to '33.3%'. */
export const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

/** 1536 to '1.5 KiB'. */
export function byteText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const unit = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${plain(bytes / 1024 ** unit)} ${units[unit]}`;
}
