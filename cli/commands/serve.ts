// `ringfence serve` on the command line.
import type { Command } from 'commander'
import { finish } from '../finish.ts'
import { configOption } from '../options.ts'
import { serve } from '../serve.ts'

/** Adds `serve`. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run the proxy until SIGTERM, which lets transactions end first')
    .addOption(configOption())
    .action((options: { config: string }) => finish(serve(options.config)))
}
