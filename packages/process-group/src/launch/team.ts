/**
 * The ranks of one attempt on this machine: started together, ended together.
 *
 * The ranks of a collective can't do without each other. When one dies the rest would wait for it, or find their
 * connections to it closed and die too; so at the first failure all are asked to end (SIGTERM), and killed (SIGKILL) if
 * they haven't after a while. Of several ranks that failed, one is the cause, and finding it is the subtle part here.
 */
import type { Output } from './output.ts';
import { type Ending, type RankPlan, RankProcess } from './process.ts';

/** Milliseconds from the first failure to SIGTERM: for the deaths that belong to it to come in, before ours do. */
const SETTLE = 100;

/** The ranks' processes, and the one promise of how all of them ended. */
export class Team {
  /** Settles when all ranks are gone and their output is printed: with the failure that ended them, if any. */
  readonly ended: Promise<Ending | undefined>;
  readonly #ranks: readonly RankProcess[];
  readonly #output: Output;
  readonly #grace: number;
  #settling: NodeJS.Timeout | undefined;
  #killing: NodeJS.Timeout | undefined;

  /** Starts the ranks; `grace` in seconds. */
  constructor(plans: readonly RankPlan[], grace: number, output: Output) {
    this.#grace = grace;
    this.#output = output;
    this.#ranks = plans.map((plan) => new RankProcess(plan, output));
    this.ended = this.#run();
  }

  async #run(): Promise<Ending | undefined> {
    const endings: Ending[] = [];
    const watch = async (rank: RankProcess): Promise<void> => {
      const ending = await rank.ended;
      endings.push(ending);
      if (ending.code !== 0) this.#settling ??= setTimeout(() => this.end('SIGTERM'), SETTLE);
      await rank.printed;
    };
    await Promise.all(this.#ranks.map(watch));
    clearTimeout(this.#settling);
    clearTimeout(this.#killing);
    return causeOf(endings);
  }

  /** Asks all ranks to end, by a signal that they can catch; those that run after the grace are killed. */
  end(signal: NodeJS.Signals): void {
    for (const rank of this.#ranks) rank.send(signal);
    this.#killing ??= setTimeout(
      () => this.kill(`did not end within ${this.#grace} s of ${signal}`),
      this.#grace * 1000,
    );
  }

  /** Ends all ranks at once. */
  kill(why: string): void {
    const running = this.#ranks.filter((rank) => rank.isRunning);
    if (running.length === 0) return;
    const numbers = running.map(({ rank }) => rank).join(', ');
    this.#output.note(`${running.length === 1 ? 'rank' : 'ranks'} ${numbers} ${why}: killed`);
    for (const rank of running) rank.send('SIGKILL');
  }
}

/**
 * The failure that was the cause of the others: the first seen, mostly. But when rank 1 is killed, its peers notice by
 * their closed connections, and may be gone before it is: its memory, and its GPU's, must be given back first. They end
 * by an exit code, though, so a signal that killed a rank and wasn't ours goes before. After our SIGTERM only SIGKILL
 * counts (sent by the user, or by a system out of memory): another may be a crash on the way out.
 */
export function causeOf(endings: readonly Ending[]): Ending | undefined {
  const wasKilled = ({ signal, sent }: Ending): boolean =>
    signal === 'SIGKILL' ? !sent.has(signal) : signal !== null && sent.size === 0;
  return endings.find(wasKilled) ?? endings.find(({ code }) => code !== 0);
}
