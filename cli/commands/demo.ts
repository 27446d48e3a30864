// `ringfence demo` on the command line.
import type { Command } from 'commander'
import { demoCommand, type DemoOptions } from '../demo.ts'
import { finish } from '../finish.ts'
import { atLeast, jsonOption } from '../options.ts'

type DemoFlags = Omit<DemoOptions, 'dir' | 'config'> & {
  readonly dir?: string
  readonly config?: string
}

/** Adds `demo`. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('start shards, replicas and the proxy on this machine, with sample data')
    .option('--shards <n>', 'number of shards', atLeast(1), 3)
    .option('--replicas <n>', 'replicas of each shard', atLeast(0), 1)
    .option('--port <port>', 'port of the proxy; 0 = any free one', atLeast(0), 6432)
    .option('--dir <dir>', 'keep the servers in this directory between runs')
    .option('--postgres <bin>', '"embedded", or a directory with PostgreSQL programs', 'embedded')
    .option('--empty', 'no sample tables', false)
    .option('--config <file>', "settings merged over the demo's own")
    .addOption(jsonOption('one line of JSON when everything is ready; logs go to stderr'))
    .action((options: DemoFlags) =>
      finish(demoCommand({ ...options, dir: options.dir ?? null, config: options.config ?? null })),
    )
}
