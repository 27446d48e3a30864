// `ringfence bench` on the command line.
import { type Command, Option } from 'commander'
import { benchCommand, type BenchOptions } from '../bench.ts'
import { finish, out } from '../finish.ts'
import { atLeast, jsonOption, milliseconds } from '../options.ts'

type BenchFlags = Omit<BenchOptions, 'durationMs'> & { readonly duration: number }

/** Adds `bench`. */
export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .description('run statements by several clients and tell throughput and latencies')
    .argument('<url>', 'any PostgreSQL: a proxy, or a server itself')
    .option('--clients <n>', 'connections', atLeast(1, 10_000), 10)
    .option('--duration <duration>', 'how long', milliseconds, 10_000)
    .option('--sql <statement>', 'run this, repeatable; ":n" is a random number', texts, [])
    .option(
      '--rows <n>',
      '":n" is from 1 to this, and so many rows are made',
      atLeast(1, 1e9),
      1_000,
    )
    .option('--writes <percent>', 'share of updates without --sql', percent, 20)
    .option('--key <column>', 'key of the table that is made without --sql', 'tenant_id')
    .addOption(
      new Option('--protocol <protocol>', 'simple queries, or prepared statements')
        .choices(['simple', 'prepared'])
        .default('prepared'),
    )
    .option('--keep', 'leave that table there', false)
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action((url: string, { duration: durationMs, ...options }: BenchFlags) =>
      finish(benchCommand(url, { ...options, durationMs }, out)),
    )
}

function texts(text: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, text]
}

function percent(text: string): number {
  return atLeast(0, 100)(text)
}

const examples = `
Examples:
  $ ringfence bench postgres://demo:demo@127.0.0.1:6432/app --duration 5s
  $ ringfence bench postgres://demo:demo@127.0.0.1:6432/app --duration 5s --clients 20 \\
      --sql "SELECT * FROM orders WHERE tenant_id = :n" --rows 100 --json

Without --sql a table "ringfence_bench" is made anew, filled, read and updated by key, and dropped.
Exit codes: 0 done, 1 a statement failed, 2 wrong arguments.`
