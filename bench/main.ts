// npm run bench [-- --quick] [--rounds N] [PART OF A ROW'S NAME ...]
//
// Berth beside Debian's docker-registry on this machine, in one run: first on disk, then in S3. A full run writes
// bench/RESULTS.md.
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, settleDisk } from './machine.ts';
import { startBerth, startDockerRegistry, type Registry } from './registries.ts';
import { line, page, resultTable, type Result, type Subject } from './report.ts';
import { rowsOf, s3RowsOf, type Row, type Scale } from './rows.ts';
import { runBenchmark, type Run } from './run.ts';
import { noS3, startS3, type S3 } from './s3.ts';

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
const minutesMax = 8;

const started = performance.now();
const minutesSoFar = (): number => (performance.now() - started) / 60_000;

await runBenchmark(async (run) => {
  const { folder } = run;
  const scale = { ...(options.quick ? quick : full), ...(options.rounds && { rounds: Number(options.rounds) }) };
  const s3 = await run.keep(startS3, async (server) => server?.stop());
  if (s3 === undefined) console.error(`nothing is measured in S3: ${noS3}`);
  const stages = [
    { rows: rowsOf(scale, folder), s3: undefined },
    { rows: s3 === undefined ? [] : s3RowsOf(scale, s3), s3 },
  ].map((stage) => ({ ...stage, rows: stage.rows.filter(isWanted) }));
  if (stages.every(({ rows }) => rows.length === 0))
    throw new Error('no row is named so; bench/RESULTS.md has the names');
  const machine = await describeMachine(folder);

  const results: Result[] = [];
  const versions = new Map<string, string>();
  for (const stage of stages.filter(({ rows }) => rows.length > 0)) {
    const registries = await startRegistries(run, stage.s3);
    for (const { name, version } of registries) versions.set(name, version);
    for (const row of stage.rows) {
      const measured = await measure(row, registries, { rounds: scale.rounds, folder });
      console.error(measured.map(line).join('\n'));
      results.push(...measured);
    }
    for (const registry of registries) await registry.stop();
  }
  console.log(resultTable(results));
  if (options.quick || wanted.length > 0 || s3 === undefined) return true;
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

function isWanted({ name }: Row): boolean {
  return wanted.length === 0 || wanted.some((part) => name.includes(part));
}

async function startRegistries(run: Run, s3: S3 | undefined): Promise<Registry[]> {
  const registries: Registry[] = [];
  for (const start of [startBerth, startDockerRegistry])
    registries.push(
      await run.keep(
        () => start(run.folder, s3),
        (registry) => registry.stop(),
      ),
    );
  return registries;
}

/** All rounds of one row, the registries in turns. */
async function measure(
  row: Row,
  registries: readonly Registry[],
  { rounds, folder }: { rounds: number; folder: string },
): Promise<Result[]> {
  const measured = row.alone === true ? registries.filter(({ name }) => name === 'Berth') : registries;
  for (const registry of measured) await row.prepare?.(registry);
  const values: Partial<Record<Subject, number[]>>[] = row.figures.map(() => ({}));
  for (let round = 0; round < rounds && (round === 0 || minutesSoFar() < minutesMax); round += 1) {
    if (row.beside !== undefined) {
      await settleDisk(folder);
      (values[0]![row.beside.store] ??= []).push(await row.beside.measure());
    }
    for (const registry of round % 2 === 0 ? measured : measured.toReversed()) {
      await settleDisk(folder);
      const figures = await row.measure(registry, round);
      for (const [i, figure] of figures.entries()) (values[i]![registry.name] ??= []).push(figure);
    }
  }
  return row.figures.map((figure, i) => ({ row: row.name, figure, values: values[i]! }));
}
