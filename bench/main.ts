// npm run bench [-- --quick] [--rounds N] [PART OF A ROW'S NAME ...]
//
// Berth beside Debian's docker-registry on this machine, in one run. A full run writes bench/RESULTS.md.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, diskSpeed, settleDisk } from './machine.ts';
import { startBerth, startDockerRegistry, type Registry } from './registries.ts';
import { line, page, resultTable, type Result, type Subject } from './report.ts';
import { rowsOf, type Row, type Scale } from './rows.ts';
import { runBenchmark } from './run.ts';

const full: Scale = {
  rounds: 3,
  seconds: 3,
  tags: [1, 400, 4000],
  largeMib: 512,
  crowd: { blobs: 20, mib: 256 },
};
/** Shows that every row works; its figures say little. */
const quick: Scale = { rounds: 1, seconds: 1, tags: [1, 20, 100], largeMib: 64, crowd: { blobs: 4, mib: 16 } };

const { values: options, positionals: wanted } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, rounds: { type: 'string' } },
  allowPositionals: true,
});

/** On a machine that has much else to do, what is left then gets one round. */
const minutesMax = 4.5;

const started = performance.now();
const minutesSoFar = (): number => (performance.now() - started) / 60_000;

await runBenchmark(async (run) => {
  const { folder } = run;
  const scale = { ...(options.quick ? quick : full), ...(options.rounds && { rounds: Number(options.rounds) }) };
  const rows = rowsOf(scale, folder).filter(
    ({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)),
  );
  if (rows.length === 0)
    throw new Error(
      `no row is named so; there are:\n${rowsOf(scale, folder)
        .map(({ name }) => name)
        .join('\n')}`,
    );
  const machine = await describeMachine(folder);
  const registries: Registry[] = [];
  for (const start of [startBerth, startDockerRegistry])
    registries.push(
      await run.keep(
        () => start(folder),
        (registry) => registry.stop(),
      ),
    );

  const results: Result[] = [];
  for (const row of rows) {
    const measured = await measure(row, registries, { rounds: scale.rounds, folder });
    console.error(measured.map(line).join('\n'));
    results.push(...measured);
  }
  console.log(resultTable(results));
  if (options.quick || wanted.length > 0) return true;
  const versions = registries.map(({ name, version }) => [name, version] as const);
  const text = page({
    date: new Date(),
    rounds: scale.rounds,
    minutes: minutesSoFar(),
    machine: [...machine, ...versions],
    results,
  });
  await writeFile(path.join(import.meta.dirname, 'RESULTS.md'), text);
  return true;
});

/** All rounds of one row, the registries in turns. */
async function measure(
  row: Row,
  registries: readonly Registry[],
  { rounds, folder }: { rounds: number; folder: string },
): Promise<Result[]> {
  for (const registry of registries) await row.prepare?.(registry);
  const values: Partial<Record<Subject, number[]>>[] = row.figures.map(() => ({}));
  for (let round = 0; round < rounds && (round === 0 || minutesSoFar() < minutesMax); round += 1) {
    if (row.besideDiskMib !== undefined) {
      await settleDisk(folder);
      (values[0]!.dd ??= []).push(await diskSpeed(folder, row.besideDiskMib));
    }
    for (const registry of round % 2 === 0 ? registries : registries.toReversed()) {
      await settleDisk(folder);
      const figures = await row.measure(registry, round);
      for (const [i, figure] of figures.entries()) (values[i]![registry.name] ??= []).push(figure);
    }
  }
  return row.figures.map((figure, i) => ({ row: row.name, figure, values: values[i]! }));
}
