import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { root } from '../src/site.ts';

interface Step {
  readonly id?: string;
  readonly uses?: string;
  readonly run?: string;
  readonly env?: Record<string, string>;
  readonly with?: Record<string, string>;
}

interface Workflow {
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, { readonly needs?: string; readonly steps: readonly Step[] }>;
}

const workflow = parse(readFileSync(join(root, '.github/workflows/docs.yml'), 'utf8')) as Workflow;
const steps = Object.values(workflow.jobs).flatMap((job) => job.steps);

test('actions are pinned to commits, and jobs may write pages alone', () => {
  const uses = steps.flatMap((step) => step.uses ?? []);
  expect(uses).toHaveLength(5);
  for (const one of uses) expect(one).toMatch(/^actions\/[\w-]+@[0-9a-f]{40}$/);
  expect(workflow.permissions).toEqual({ contents: 'read' });
});

test('it builds with the command of the README under the path that Pages gives, and deploys what that writes', () => {
  const build = steps.find(({ run }) => run?.includes('docs:build'));
  expect(build?.run).toBe('npx nx run docs:build --base="$BASE_PATH/"');
  expect(build?.env?.['BASE_PATH']).toMatch(/^\$\{\{ steps\.pages\.outputs\.base_path \}\}$/);
  expect(steps.find(({ id }) => id === 'pages')?.uses).toContain('actions/configure-pages@');
  const targets = JSON.parse(readFileSync(join(root, 'docs/package.json'), 'utf8')).nx.targets;
  const upload = steps.find(({ uses }) => uses?.includes('upload-pages-artifact'));
  expect(targets.build.outputs).toEqual([(upload?.with?.['path'] ?? '').replace('docs/', '{projectRoot}/')]);
  expect(workflow.jobs['deploy']?.needs).toBe('build');
});
