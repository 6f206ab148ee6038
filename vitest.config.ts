import { defineConfig } from 'vitest/config';

/** These start servers and programs of their own, stop their clocks, or measure: side by side they would disturb each other. */
const alone = [
  'test/clients/**/*.test.ts',
  'test/deploy/**/*.test.ts',
  'test/faults/**/*.test.ts',
  'test/security/**/*.test.ts',
];

export default defineConfig({
  test: {
    globalSetup: ['test/support/global-setup.ts'],
    // Names what was skipped; with CI=true a skip fails the run.
    reporters: ['default', './test/support/report.ts'],
    pool: 'forks',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    projects: [
      {
        extends: true,
        test: {
          name: 'together',
          include: ['src/**/*.test.ts', 'test/**/*.test.ts', 'scripts/**/*.test.ts'],
          exclude: ['**/node_modules/**', ...alone],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      { extends: true, test: { name: 'alone', include: alone, maxWorkers: 1, sequence: { groupOrder: 1 } } },
    ],
  },
});
