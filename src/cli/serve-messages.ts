/** What `berth serve` and its workers say to each other. */
import type { Foundation } from '../app.ts';

/** What a worker needs to know to be like all others, whatever has become of files and environment since the start. */
export interface Order {
  /** The settings, as {@link parseConfig} reads them. */
  readonly texts: Readonly<Record<string, string>>;
  readonly connection: Foundation['connection'];
}

export type ToWorker = { readonly berth: 'serve'; readonly order: Order } | { readonly berth: 'stop' };

export type ToPrimary =
  /** Ready to hear what to do. */
  | { readonly berth: 'hello' }
  | { readonly berth: 'serving'; readonly port: number }
  /** `reason` is a sentence for the operator, or all that is known. */
  | { readonly berth: 'failed'; readonly reason: string };

/** Not everything on the channel is ours: Node's watch mode speaks there, too. */
export const isOurs = <M extends ToWorker | ToPrimary>(message: unknown): message is M =>
  typeof message === 'object' && message !== null && 'berth' in message;
