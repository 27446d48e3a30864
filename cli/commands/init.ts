// `ringfence init` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { initCommand } from '../init.ts'
import { configOption, jsonOption } from '../options.ts'

/** Adds `init`. */
export function addInitCommand(program: Command): void {
  program
    .command('init')
    .description(
      'create or upgrade the catalog and the functions on every shard; safe to run again',
    )
    .addOption(configOption())
    .addOption(jsonOption())
    .action((options: { config: string; json: boolean }) =>
      finish(initCommand(options.config, options, out)),
    )
}
