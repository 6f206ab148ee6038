#!/usr/bin/env node
import { createProgram } from './cli/program.ts';

try {
  await createProgram().parseAsync();
} catch (error) {
  const { reportFailure } = await import('./cli/failure.ts');
  reportFailure(error);
  // What a failed command left open must not keep the process alive.
  process.exit(1);
}
