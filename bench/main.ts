// npm run bench [-- --quick] [--rounds N] [PART OF A ROW'S NAME ...]
//
// Berth beside Debian's docker-registry on this machine, in one run. A full run writes bench/RESULTS.md.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { describeMachine, diskSpeed, settleDisk } from './machine.ts';
import { endPrograms } from './programs.ts';
import { startBerth, startDockerRegistry, type Registry } from './registries.ts';
import { line, page, table, type Result, type Subject } from './report.ts';
import { rowsOf, type Row, type Scale } from './rows.ts';

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
const folder = await mkdtemp(path.join(tmpdir(), 'berth-bench-'));
const registries: Registry[] = [];
const interrupted = Promise.withResolvers<NodeJS.Signals>();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupted.resolve);

const bench = run();
const end = await Promise.race([bench, interrupted.promise]).catch((error: unknown) => {
  console.error(error);
  return 'failed' as const;
});
// What is under way fails when its servers go; nobody waits for it any more.
bench.catch(() => undefined);
endPrograms();
await Promise.all(registries.map((registry) => registry.stop()));
await rm(folder, { recursive: true, force: true });
process.exit(end === undefined ? 0 : 1);

async function run(): Promise<void> {
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
  for (const start of [startBerth, startDockerRegistry]) registries.push(await start(folder));

  const results: Result[] = [];
  for (const row of rows) {
    const measured = await measure(row, scale.rounds);
    console.error(measured.map(line).join('\n'));
    results.push(...measured);
  }
  console.log(table(results));
  if (options.quick || wanted.length > 0) return;
  const versions = registries.map(({ name, version }) => [name, version] as const);
  const text = page({
    date: new Date(),
    rounds: scale.rounds,
    minutes: minutesSoFar(),
    machine: [...machine, ...versions],
    results,
  });
  await writeFile(path.join(import.meta.dirname, 'RESULTS.md'), text);
}

/** All rounds of one row, the registries in turns. */
async function measure(row: Row, rounds: number): Promise<Result[]> {
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
