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

/** A sentence for each violation, with where and how the first one is. */
export async function violationsOn(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<Result>('axe.run(document)');
  return violations.map(
    ({ id, help, nodes: [first] }) => `${page.url()} ${id}: ${help} (${first?.target}) ${first?.failureSummary}`,
  );
}
