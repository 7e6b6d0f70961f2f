import { defineConfig } from 'vitest/config';
export default defineConfig({
  test: { include: ['zzsurvey/**/*.test.ts'], pool: 'forks', maxWorkers: 2, testTimeout: 600000, hookTimeout: 120000 },
});
