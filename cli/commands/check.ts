// `ringfence check` on the command line.
import type { Command } from 'commander'
import { checkCommand } from '../check.ts'
import { finish, out } from '../finish.ts'
import { configOption, jsonOption } from '../options.ts'

/** Adds `check`. */
export function addCheckCommand(program: Command): void {
  program
    .command('check')
    .description('report every problem of the configuration and of the servers at once')
    .addOption(configOption())
    .addOption(jsonOption())
    .action((options: { config: string; json: boolean }) =>
      finish(checkCommand(options.config, options, out)),
    )
}
