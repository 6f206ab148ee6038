/**
 * The end of a run. Names every skipped test; with CI=true a skip is a failure. Where `CI_PROBLEMS` names a file, what
 * failed is written there in short, for whoever has only the last lines to read.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

export default class EndReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const skipped = skippedOf(modules);
    if (skipped !== '') console.log(`\n${skipped}`);
    if (skipped !== '' && process.env['CI'] === 'true') process.exitCode = 1;
    const file = process.env['CI_PROBLEMS'];
    if (file === undefined) return;
    const problems = [...unhandled.map(unhandledProblem), ...modules.flatMap(problemsOf), skipped];
    writeFileSync(file, problems.map((problem) => problem && `${problem}\n`).join(''));
  }
}

function skippedOf(modules: readonly TestModule[]): string {
  const skipped = modules.flatMap((module) => [...module.children.allTests('skipped')]);
  if (skipped.length === 0) return '';
  const names = skipped.map((test) => {
    const { note } = test.result() as { note?: string };
    return `  ${test.module.relativeModuleId} > ${test.fullName}${note === undefined ? '' : `: ${note}`}`;
  });
  const why = 'because this machine cannot run them or they were turned off; with CI=true that is a failure';
  return `Skipped, ${why} (${skipped.length}):\n${names.join('\n')}`;
}

/** An error that no test was waiting for: the run fails, although every test may have passed. */
function unhandledProblem(error: SerializedError): string {
  const { type = 'Unhandled Error', VITEST_TEST_PATH: file, VITEST_TEST_NAME: test } = error;
  const where = typeof file === 'string' ? ` in ${path.relative(process.cwd(), file)}` : '';
  const when = typeof test === 'string' ? `, during or after "${test}"` : '';
  return `${String(type)}${where}${when}\n${textOf(error)}`;
}

/** A test that failed, a suite whose hooks did, a file that could not be loaded. */
function problemsOf(module: TestModule): string[] {
  const file = module.relativeModuleId;
  const about = (name: string, errors: readonly SerializedError[] = []): string[] =>
    errors.map((error) => `FAILED ${name}\n${textOf(error)}`);
  return [
    ...about(file, module.errors()),
    ...[...module.children.allSuites()].flatMap((suite) => about(`${file} > ${suite.fullName}`, suite.errors())),
    ...[...module.children.allTests('failed')].flatMap((test) =>
      about(`${file} > ${test.fullName}`, test.result().errors),
    ),
  ];
}

const messageLinesMax = 8;
const diffLinesMax = 12;
const stackLinesMax = 5;
/** Places of the runner, which are the same in every stack. */
const notOurs = /node:internal|node_modules\/vitest|new Promise/;

/** Message, difference, the first places of the stack, and causes. */
function textOf(error: SerializedError): string {
  const { name = 'Error', message, diff, stack = '', cause } = error;
  const plain = (text: string): string[] => stripVTControlCharacters(text).split('\n');
  const places = stack.split('\n').filter((line) => /^\s+at /.test(line) && !notOurs.test(line));
  const lines = [
    ...plain(`${name.replace(/^Caused by: /, '')}: ${message}`).slice(0, messageLinesMax),
    ...(typeof diff === 'string' ? plain(diff).filter((line) => line.trim() !== '') : []).slice(0, diffLinesMax),
    ...places.slice(0, stackLinesMax).map((line) => line.trim()),
  ];
  const caused = typeof cause === 'object' && cause !== null ? `\n caused by\n${textOf(cause)}` : '';
  return lines.map((line) => `  ${line}`).join('\n') + caused;
}
