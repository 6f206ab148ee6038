#!/usr/bin/env node
// Before anything else: the rest takes some hundred milliseconds to load, in which somebody may want it to end.
import './cli/signals.ts';

try {
  const { createProgram } = await import('./cli/program.ts');
  await createProgram().parseAsync();
} catch (error) {
  const { reportFailure } = await import('./cli/failure.ts');
  reportFailure(error);
  // What a failed command left open must not keep the process alive.
  process.exit(1);
}
