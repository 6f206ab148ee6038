/** The settings cannot be used. The message has one line for every problem, and no value of a secret setting. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: readonly string[];

  constructor(problems: readonly string[], options?: ErrorOptions) {
    super(['The settings cannot be used:', ...problems.map((problem) => `  ${problem}`)].join('\n'), options);
    this.problems = problems;
  }
}
