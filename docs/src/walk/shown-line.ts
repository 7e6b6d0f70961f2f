/**
 * The line of code that an address names, `#L42`, is marked. A browser does that by itself (`:target`) only for the
 * address by which a page was opened; within the site a script changes address and page, and the browser doesn't look.
 */

/** The class of the marked line. */
export const SHOWN = 'shown-line';

/** What of a document is needed. */
export interface Lines {
  /** The elements with a class. */
  getElementsByClassName(name: string): ArrayLike<Pick<Element, 'classList'>>;
  /** The element with an id, if there is one. */
  getElementById(id: string): Pick<Element, 'classList'> | null;
}

/** Marks the line that the hash names, and no other. */
export function showLine(page: Lines, hash: string): void {
  for (const line of Array.from(page.getElementsByClassName(SHOWN))) line.classList.remove(SHOWN);
  if (/^#L\d+$/.test(hash)) page.getElementById(hash.slice(1))?.classList.add(SHOWN);
}
