/** Names every skipped test at the end of a run. With CI=true a skip is a failure. */
import type { Reporter, TestModule } from 'vitest/node';

export default class SkipReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const skipped = modules.flatMap((module) => [...module.children.allTests('skipped')]);
    if (skipped.length === 0) return;
    console.log(`\nSkipped, because this machine cannot run them or they were turned off (${skipped.length}):`);
    for (const test of skipped) {
      const { note } = test.result() as { note?: string };
      console.log(`  ${test.module.relativeModuleId} > ${test.fullName}${note === undefined ? '' : `: ${note}`}`);
    }
    if (process.env['CI'] === 'true') {
      console.log('With CI=true a skip is a failure.');
      process.exitCode = 1;
    }
  }
}
