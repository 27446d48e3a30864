// `ringfence top` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { configOption, databaseOption, jsonOption, milliseconds, proxyOption } from '../options.ts'
import { topCommand, type TopOptions } from '../top/top.ts'

type TopFlags = Omit<TopOptions, 'intervalMs'> & { readonly interval: number }

/** Adds `top`. */
export function addTopCommand(program: Command): void {
  program
    .command('top')
    .description('watch pools, load, replicas and moves of a running cluster')
    .addOption(configOption())
    .addOption(databaseOption())
    .addOption(proxyOption())
    .option('--interval <duration>', 'between two pictures', milliseconds, 1_000)
    .option('--once', 'print one picture and end', false)
    .addOption(jsonOption('print one picture as JSON'))
    .addHelpText('after', examples)
    .action(({ interval: intervalMs, ...options }: TopFlags) =>
      finish(topCommand({ ...options, intervalMs }, out)),
    )
}

const examples = `
Examples:
  $ ringfence top --config ringfence.yaml
  $ ringfence top --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432 --interval 5s
  $ ringfence top --once --json

Keys: q ends. Statements and server time per second are averages over about ten minutes.
Exit codes: 0 done, 1 no proxy answered, 2 wrong arguments.`
