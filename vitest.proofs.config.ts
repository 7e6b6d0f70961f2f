/** Proofs: tests that take minutes. `nx run train:proof` runs them in that package's folder with this file. */
import { defineConfig } from 'vitest/config';
import tests from './vitest.config.ts';

export default defineConfig({
  test: {
    ...tests.test,
    include: ['test/**/*.proof.ts'],
    testTimeout: 600_000,
    outputFile: { json: '.results/proofs.json' },
  },
});
