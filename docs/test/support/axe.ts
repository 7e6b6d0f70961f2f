/** What axe-core finds wrong with a page for people who can't see it, or not well. */
import axe from 'axe-core';
import type { Page } from 'playwright-core';

interface Result {
  readonly violations: readonly {
    readonly id: string;
    readonly help: string;
    readonly nodes: readonly { readonly target: readonly unknown[]; readonly failureSummary?: string }[];
  }[];
}

/** A sentence for each violation, with where and how the first one is: on the page, or in what a selector finds. */
export async function violationsOn(page: Page, within = 'html'): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<Result>(`axe.run(${JSON.stringify(within)})`);
  return violations.map(
    ({ id, help, nodes: [first] }) => `${page.url()} ${id}: ${help} (${first?.target}) ${first?.failureSummary}`,
  );
}
