// `ringfence key …` on the command line.
import type { Command } from 'commander'
import { defaultMoveOptions } from '../../rebalancer/run-move.ts'
import { finish, out } from '../finish.ts'
import { type IsolateFlags, isolateCommand, locateCommand, unpinCommand } from '../key.ts'
import type { MoverFlags } from '../mover.ts'
import { configOption, databaseOption, jsonOption } from '../options.ts'

/** Adds `key` with its commands. */
export function addKeyCommand(program: Command): void {
  const group = program
    .command('key')
    .description('find a shard key, or give it a shard of its own')
    .addHelpText('after', examples)
  shared(group.command('locate'))
    .description('virtual node and shard of a key')
    .argument('<key>', 'value of the shard key')
    .action((key: string, flags: MoverFlags) => finish(locateCommand(key, flags, out)))
  moving(group.command('isolate'))
    .description('move one key to a shard, where it stays whatever becomes of its virtual node')
    .argument('<key>', 'value of the shard key')
    .requiredOption('--to <shard>', 'shard that it is to live on')
    .action((key: string, flags: IsolateFlags) =>
      finish(isolateCommand(key, { ...flags, limits: defaultMoveOptions }, out)),
    )
  moving(group.command('unpin'))
    .description('move an isolated key back to the shard of its virtual node')
    .argument('<key>', 'value of the shard key')
    .action((key: string, flags: IsolateFlags) =>
      finish(unpinCommand(key, { ...flags, limits: defaultMoveOptions }, out)),
    )
}

function shared(command: Command): Command {
  return command.addOption(configOption()).addOption(databaseOption()).addOption(jsonOption())
}

function moving(command: Command): Command {
  return shared(command)
    .option('--dry-run', 'print steps, bytes and expected waits; change nothing', false)
    .option('-y, --yes', 'do not ask', false)
    .option('--verbose', 'log every step to stderr', false)
}

const examples = `
Examples:
  $ ringfence key locate 42
  $ ringfence key isolate 42 --to s2 --yes
  $ ringfence key unpin 42 --yes

Exit codes: 0 done, 1 not done, 2 wrong arguments.`
