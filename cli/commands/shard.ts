// `ringfence shard …` on the command line: the group, and what holds a shard for a switchover.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { configOption, databaseOption, jsonOption, milliseconds, proxyOption } from '../options.ts'
import { pauseCommand, resumeCommand, type ShardOptions } from '../shard.ts'

type ShardFlags = Omit<ShardOptions, 'timeoutMs'> & { readonly timeout: number }

/** Adds `shard` with its commands. */
export function addShardCommand(program: Command): void {
  const shard = program
    .command('shard')
    .description(
      'hold the statements of a shard in the proxies for a planned switchover, and go on',
    )
    .addHelpText('after', examples)
  for (const [name, description, run] of switchover) {
    shard
      .command(name)
      .description(description)
      .argument('<shard>', 'id of the shard')
      .addOption(configOption())
      .addOption(databaseOption())
      .addOption(proxyOption())
      .option('--timeout <duration>', 'how long to wait for all proxies', milliseconds, 30_000)
      .addOption(jsonOption())
      .action((id: string, { timeout: timeoutMs, ...options }: ShardFlags) =>
        finish(run(id, { ...options, timeoutMs }, out)),
      )
  }
}

const switchover = [
  ['pause', 'let open transactions of the shard end, then hold new ones', pauseCommand],
  ['resume', 'let what was held go on, on the primary of now', resumeCommand],
] as const

const examples = `
Examples:
  $ ringfence shard pause s2 --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432
  $ ringfence shard resume s2 --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432

Exit codes: 0 done on all proxies, 1 not on all (after "pause" none stays paused), 2 wrong arguments.`
