// `ringfence shard …` on the command line: shards that join and leave, and holding one for a switchover.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { configOption, databaseOption, jsonOption, milliseconds, proxyOption } from '../options.ts'
import { pauseCommand, resumeCommand, type ShardOptions } from '../shard.ts'
import { type ShardAddFlags, shardAddCommand } from '../shard-add.ts'
import type { ShardFlags } from '../shard-cluster.ts'
import {
  type DrainFlags,
  type RemoveFlags,
  shardDrainCommand,
  shardRemoveCommand,
} from '../shard-leave.ts'
import { shardListCommand } from '../shard-list.ts'

type SwitchoverFlags = Omit<ShardOptions, 'timeoutMs'> & { readonly timeout: number }
type AddFlags = Omit<ShardAddFlags, 'timeoutMs'> & { readonly timeout: number }

/** Adds `shard` with its commands. */
export function addShardCommand(program: Command): void {
  const shard = program
    .command('shard')
    .description('list shards, let one join or leave, or hold one for a planned switchover')
    .addHelpText('after', examples)
  addChanges(shard)
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
      .action((id: string, { timeout: timeoutMs, ...options }: SwitchoverFlags) =>
        finish(run(id, { ...options, timeoutMs }, out)),
      )
  }
}

function addChanges(shard: Command): void {
  withShared(shard.command('list'))
    .description('shards of the catalog and of the file, and what they own')
    .action((flags: ShardFlags) => finish(shardListCommand(flags, out)))
  withShared(shard.command('add').argument('<shard...>', 'ids of shards in the file'))
    .description(
      'let shards of the file join, one after the other: schema, reference tables, then a place in the cluster',
    )
    .option('--timeout <duration>', 'how long statements may be held', milliseconds, 300_000)
    .option('--forget-proxy <id>', 'a proxy that is gone for good, repeatable', collected, [])
    .option('--dry-run', 'print the steps, or all problems; nothing is changed', false)
    .action((ids: readonly string[], { timeout: timeoutMs, ...flags }: AddFlags) =>
      finish(addAll(ids, { ...flags, timeoutMs })),
    )
  withShared(shard.command('drain').argument('<shard>', 'id of the shard'))
    .description('let plans give away everything that a shard owns')
    .option('--undo', 'let plans use it again', false)
    .option('--dry-run', 'nothing is changed', false)
    .action((id: string, flags: DrainFlags) => finish(shardDrainCommand(id, flags, out)))
  withShared(shard.command('remove').argument('<shard>', 'id of the shard'))
    .description('take a shard out of the cluster that nothing lives on')
    .option('--dry-run', 'only look for what lives there', false)
    .action((id: string, flags: RemoveFlags) => finish(shardRemoveCommand(id, flags, out)))
}

/** The first that cannot join ends it; those before it have joined. */
async function addAll(ids: readonly string[], flags: ShardAddFlags): Promise<number> {
  for (const id of ids) {
    const code = await shardAddCommand(id, flags, out)
    if (code !== 0) return code
  }
  return 0
}

function withShared(command: Command): Command {
  return command.addOption(configOption()).addOption(databaseOption()).addOption(jsonOption())
}

function collected(value: string, earlier: readonly string[]): readonly string[] {
  return [...earlier, value]
}

const switchover = [
  ['pause', 'let open transactions of the shard end, then hold new ones', pauseCommand],
  ['resume', 'let what was held go on, on the primary of now', resumeCommand],
] as const

const examples = `
Examples:
  $ ringfence shard list
  $ ringfence shard add s4 --dry-run
  $ ringfence shard add s4
  $ ringfence shard add s2 s3 s4
  $ ringfence shard drain s2
  $ ringfence shard remove s2
  $ ringfence shard pause s2 --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432
  $ ringfence shard resume s2 --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432

Exit codes: 0 done, 1 refused or undone (after "pause" no proxy stays paused), 2 wrong arguments.`
