/** Figures of a run, and how they are written down. */
import type { Figure } from './rows.ts';
import { median, number, spread, table } from './table.ts';

/** What is measured: the registries, and what holds their bytes by itself (`dd` to the disk, the same bytes straight to S3). */
export type Subject = 'Berth' | 'docker-registry' | Store;
export type Store = 'dd' | 'S3';

/** One figure of one row: what each subject reached, round by round. */
export interface Result {
  readonly row: string;
  readonly figure: Figure;
  readonly values: Readonly<Partial<Record<Subject, readonly number[]>>>;
}

/** Berth's figure over the other's in each round: what disturbs the machine for a while disturbs both. */
function ratios(result: Result, other: Subject): number[] {
  const others = result.values[other] ?? [];
  return (result.values.Berth ?? []).flatMap((value, round) => {
    const against = others[round];
    return against === undefined ? [] : [value / against];
  });
}

function aimOf(result: Result): string {
  const { aim } = result.figure;
  if (aim === undefined) return '';
  const own = result.values.Berth ?? [];
  if ('atMost' in aim) return `<= ${aim.atMost}: ${Math.max(...own) <= aim.atMost ? 'met' : 'not met'}`;
  if ('atLeast' in aim) return `>= ${aim.atLeast}: ${median(own) >= aim.atLeast ? 'met' : 'not met'}`;
  const reached = ratios(result, aim.of);
  if (reached.length === 0) return '';
  const text = `>= ${aim.times}x ${aim.of}`;
  return `${text}: ${median(reached) >= aim.times ? 'met' : 'not met'} (${number(median(reached))}x)`;
}

const heads = ['', 'unit', 'Berth', 'docker-registry', 'ratio', 'dd, or S3 itself', 'aim'];

function cells(result: Result): string[] {
  const { row, figure, values } = result;
  return [
    row,
    figure.unit,
    spread(values.Berth),
    spread(values['docker-registry']),
    spread(ratios(result, 'docker-registry')),
    spread(values.dd ?? values.S3),
    aimOf(result),
  ];
}

/** A result as it comes, for whoever is waiting. */
export function line(result: Result): string {
  const values = Object.entries(result.values).map(([subject, figures]) => `${subject} ${spread(figures)}`);
  return `${result.row}: ${values.join(', ')} ${result.figure.unit}`;
}

export const resultTable = (results: readonly Result[]): string => table([heads, ...results.map(cells)]);

export interface Report {
  readonly date: Date;
  readonly rounds: number;
  readonly minutes: number;
  readonly machine: readonly (readonly [string, string])[];
  readonly results: readonly Result[];
}

export function page({ date, rounds, minutes, machine, results }: Report): string {
  const disk = results.flatMap((result) => result.values.dd ?? []);
  const facts = [
    ['Date', date.toISOString().slice(0, 16).replace('T', ' ')],
    ...machine,
    ['Disk', `${spread(disk)} MB/s durable (dd conv=fdatasync, in the same run)`],
  ];
  return `# Berth beside docker-registry

Written by \`npm run bench\`; at most ${rounds} rounds, ${minutes.toFixed(1)} minutes in all.

${facts.map(([name, value]) => `- ${name}: ${value}`).join('\n')}

${resultTable(results)}

How to read it:

- Each figure is the median of the rounds, with the lowest and the highest; one alone is of a single round. In each round both registries are measured one
  after the other, and the other one first in the next. The ratio is Berth's figure over docker-registry's, taken round by
  round; for memory, less is better.
- Server and client share the cores, so absolute figures are lower than a server alone would reach; the ratios count.
- Berth runs as it does by default: its own PostgreSQL with fsync, private repositories, a Bearer token with every request,
  each request's credential and right asked of the database. docker-registry runs with the settings of Debian's package,
  its cache of blob descriptors in memory, and no authentication at all. It calls no fsync; Berth answers a push when it is
  durable. Between measurements \`sync\` empties the write cache, outside of the measured time.
- With one tag all clients ask the same question, and Berth puts it to its database once per statement; over many tags
  each is a question of its own.
- GET is loaded by wrk, HEAD by raw sockets of the benchmark (wrk waits for a body after a HEAD), pushes by node:http with
  kept connections. The large blob that is read was written before, so it comes from the page cache.
- S3 is versitygw on the same disk and the same cores, which calls no fsync. "S3 itself" is the same bytes in one PUT or GET
  to an address that was signed before, without a registry. A GET by redirect is asked of Berth and fetched from S3.
  docker-registry has no figures for large pushes: with this server it came to 9 MB/s (more than a second for each of its parts of
  10 MiB, for reasons that have not been looked into), which says little and takes minutes.
- Memory is the peak of the resident set (VmHWM) of the server's process while the blobs are pushed; Berth's PostgreSQL is not in it.
`;
}
