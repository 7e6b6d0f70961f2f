/** A rank for the launcher's tests: `launch-child.mjs ACT [arguments]` does one of the acts below. */
import { connect, createServer } from 'node:net';
import { announcePlace, endWithLauncher } from '../src/launch/rank.ts';

const { env } = process;
const rank = Number(env['RANK']);
const [act, ...args] = process.argv.slice(2);
const forever = () => setInterval(() => {}, 1000);
const failAs = (who, end) => (rank === Number(who) ? end() : forever());

const acts = {
  /** Prints its arguments and the variables that the launcher sets. */
  env() {
    const names = ['RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'GROUP_RANK', 'MASTER_ADDR', 'MASTER_PORT'];
    const others = ['FOURFOLD_SECRET', 'TORCHELASTIC_RESTART_COUNT', 'OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES'];
    const set = [...names, ...others, 'FOURFOLD_TIMEOUT'].map((name) => [name, env[name]]);
    console.log(JSON.stringify({ ...Object.fromEntries(set), args }));
  },
  /** Prints a line before and one after it tells its place. */
  place() {
    console.log('before');
    setTimeout(() => announcePlace(`dp${rank >> 1} tp${rank & 1}`), 200);
    setTimeout(() => console.log('after'), 400);
    setTimeout(() => process.stdout.write('last, without an end'), 450);
  },
  /** One megabyte in numbered lines. */
  flood() {
    for (let i = 0; i < 16_384; i++) process.stdout.write(`${rank} ${i} ${'x'.repeat(50)}\n`);
  },
  /** Rank `who` throws; the others wait for ever. */
  throw: (who) =>
    failAs(who, () => {
      throw new Error('this rank can not go on');
    }),
  /** Rank `who` exits with `code`; the others wait for ever. */
  exit: (who, code) => failAs(who, () => process.exit(Number(code))),
  /** All connect to rank `who`, which then kills itself; the others exit with 1 when they find that they lost it. */
  kill(who) {
    announcePlace(`tp${rank}`);
    if (rank === Number(who)) {
      let peers = 0;
      const server = createServer(
        () => ++peers === Number(env['WORLD_SIZE']) - 1 && process.kill(process.pid, 'SIGKILL'),
      );
      return server.listen(Number(env['MASTER_PORT']), '127.0.0.1');
    }
    const join = () => {
      const socket = connect(Number(env['MASTER_PORT']), '127.0.0.1');
      let isJoined = false;
      socket.once('connect', () => (isJoined = true)).on('error', () => {});
      socket.once('close', () => (isJoined ? process.exit(1) : setTimeout(join, 20)));
    };
    return join();
  },
  /** Fails in the first attempts, up to `count`. */
  flaky(count) {
    const attempt = Number(env['TORCHELASTIC_RESTART_COUNT']);
    console.log(`port ${env['MASTER_PORT']} secret ${env['FOURFOLD_SECRET']}`);
    if (attempt < Number(count)) setTimeout(() => process.exit(7), 20);
  },
  /** Says which signals come, and ends at one unless told to stay. */
  signals(stays) {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
      process.on(signal, () => {
        console.log(`got ${signal}`);
        if (!stays) setTimeout(() => process.exit(0), 200); // as if it wrote a checkpoint
      });
    forever();
    console.log(`ready ${process.pid}`);
  },
  /** Joins the launcher's fate; with 'leave' it has nothing more to do. */
  join(leaves) {
    endWithLauncher();
    announcePlace('joined');
    if (!leaves) forever();
    console.log(`ready ${process.pid}`);
  },
};

acts[act](...args);
