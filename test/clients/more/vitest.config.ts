/**
 * Clients that have to be built first, which takes minutes: not part of `npm test`.
 *
 *     npm exec -c 'vitest run --config test/clients/more/vitest.config.ts'
 */
import { defineConfig, type ViteUserConfig } from 'vitest/config';
import everyRun from '../../../vitest.config.ts';

const { test } = everyRun as ViteUserConfig;

export default defineConfig({ test: { ...test, include: ['test/clients/more/*.option.ts'] } });
