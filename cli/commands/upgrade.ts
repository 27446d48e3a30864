// `ringfence upgrade` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { configOption, jsonOption, milliseconds, proxyOption } from '../options.ts'
import { upgradeCommand, type UpgradeOptions } from '../upgrade.ts'

type Flags = Omit<UpgradeOptions, 'timeoutMs'> & { readonly timeout: number }

/** Adds `upgrade`. */
export function addUpgradeCommand(program: Command): void {
  program
    .command('upgrade')
    .description('have a running proxy replaced by a new process, without an error for any client')
    .addOption(configOption())
    .addOption(proxyOption())
    .option('--timeout <duration>', 'how long to wait for each new process', milliseconds, 90_000)
    .addOption(jsonOption())
    .action(({ timeout: timeoutMs, ...options }: Flags) =>
      finish(upgradeCommand({ ...options, timeoutMs }, out)),
    )
}
