/** One configuration for every package: `nx run ops:test` runs vitest in that package's folder with this file. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks', // TensorFlow's threads and log settings belong to a process
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: ['default', 'json'],
    outputFile: { json: '.results/tests.json' },
  },
});
