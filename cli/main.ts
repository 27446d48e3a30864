// The command line. Only argv, help and exit codes live here; each command has a file of its own.
import { Command, InvalidArgumentError, Option } from 'commander'
import { duration } from '../config/kinds.ts'
import { checkCommand } from './check.ts'
import { demoCommand } from './demo.ts'
import { explainCommand } from './explain.ts'
import { initCommand } from './init.ts'
import { CommandFailure } from './load-config.ts'
import { serve } from './serve.ts'
import { pauseCommand, resumeCommand, type ShardOptions } from './shard.ts'
import { programVersion } from './version.ts'

const defaultConfig = 'ringfence.yaml'
const out = (text: string) => void process.stdout.write(text)

const program = new Command('ringfence')
  .description('PostgreSQL sharding and connection pooling that is never wrong')
  .version(programVersion())
  .showHelpAfterError()
  // Before the commands are added: they inherit it.
  .exitOverride((error) => {
    process.exit(error.exitCode === 0 ? 0 : 2)
  })
  .addHelpText(
    'after',
    `
Examples:
  $ ringfence demo                                   a sharded PostgreSQL on this machine
  $ ringfence check --config ringfence.yaml          what is wrong with file and servers
  $ ringfence init --config ringfence.yaml           create or upgrade the catalog
  $ ringfence serve --config ringfence.yaml          run the proxy
  $ ringfence explain "SELECT * FROM orders WHERE tenant_id = 1"
  $ ringfence shard pause s2                         hold a shard for a planned switchover

Exit codes: 0 done, 1 refused or found problems, 2 wrong arguments.`,
  )

const configOption = () =>
  new Option('-c, --config <file>', 'configuration file')
    .default(defaultConfig)
    .env('RINGFENCE_CONFIG')

program
  .command('serve')
  .description('run the proxy until SIGTERM, which lets transactions end first')
  .addOption(configOption())
  .action((options: { config: string }) => finish(serve(options.config)))

program
  .command('init')
  .description('create or upgrade the catalog and the functions on every shard; safe to run again')
  .addOption(configOption())
  .option('--json', 'print JSON', false)
  .action((options: { config: string; json: boolean }) =>
    finish(initCommand(options.config, options, out)),
  )

program
  .command('check')
  .description('report every problem of the configuration and of the servers at once')
  .addOption(configOption())
  .option('--json', 'print JSON', false)
  .action((options: { config: string; json: boolean }) =>
    finish(checkCommand(options.config, options, out)),
  )

program
  .command('explain')
  .description('show how a statement would go, without running it')
  .argument('<statement>', 'SQL')
  .addOption(configOption())
  .option('-d, --database <name>', 'database of the configuration; needed when there are several')
  .option('--json', 'print JSON', false)
  .action((statement: string, options: { config: string; database?: string; json: boolean }) =>
    finish(explainCommand(statement, options, out)),
  )

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
  .option('--json', 'one line of JSON when everything is ready; logs go to stderr', false)
  .action((options: DemoFlags) =>
    finish(demoCommand({ ...options, dir: options.dir ?? null, config: options.config ?? null })),
  )

const shard = program
  .command('shard')
  .description('hold the statements of a shard in the proxies for a planned switchover, and go on')
  .addHelpText(
    'after',
    `
Examples:
  $ ringfence shard pause s2 --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432
  $ ringfence shard resume s2 --proxy 10.0.1.1:6432 --proxy 10.0.1.2:6432

Exit codes: 0 done on all proxies, 1 not on all (after "pause" none stays paused), 2 wrong arguments.`,
  )

const shardCommands = [
  ['pause', 'let open transactions of the shard end, then hold new ones', pauseCommand],
  ['resume', 'let what was held go on, on the primary of now', resumeCommand],
] as const
for (const [name, description, run] of shardCommands) {
  shard
    .command(name)
    .description(description)
    .argument('<shard>', 'id of the shard')
    .addOption(configOption())
    .option('-d, --database <name>', 'database of the configuration; needed when there are several')
    .option('--proxy <host:port>', "a proxy, repeatable; without it the file's own", proxyAt, [])
    .option('--timeout <duration>', 'how long to wait for all proxies', milliseconds, 30_000)
    .option('--json', 'print JSON', false)
    .action((id: string, { timeout: timeoutMs, ...options }: ShardFlags) =>
      finish(run(id, { ...options, timeoutMs }, out)),
    )
}

type ShardFlags = Omit<ShardOptions, 'timeoutMs'> & { readonly timeout: number }

type DemoFlags = {
  shards: number
  replicas: number
  port: number
  dir?: string
  postgres: string
  empty: boolean
  config?: string
  json: boolean
}

function atLeast(minimum: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (Number.isInteger(number) && number >= minimum && number <= 65_535) return number
    throw new InvalidArgumentError(`It takes a whole number from ${minimum}.`)
  }
}

function proxyAt(text: string, earlier: ShardOptions['proxy']): ShardOptions['proxy'] {
  const [, host, port] = /^(\[[\da-fA-F:.]+\]|[^:\s]+)(?::(\d{1,5}))?$/.exec(text) ?? []
  if (host === undefined || Number(port ?? 0) > 65_535) {
    throw new InvalidArgumentError('Write it like 10.0.0.1:6432.')
  }
  const bare = host.replace(/^\[(.*)\]$/, '$1')
  return [...earlier, { host: bare, port: port === undefined ? null : Number(port) }]
}

function milliseconds(text: string): number {
  const parsed = duration({ minMs: 1 }).schema.safeParse(text)
  if (parsed.success) return parsed.data
  throw new InvalidArgumentError('Write it like 30s, 500ms or 2m.')
}

/** A refusal is shown as it is, a bug with its stack. */
async function finish(command: Promise<number>): Promise<void> {
  try {
    process.exitCode = await command
  } catch (error) {
    process.exitCode = 1
    const known = error instanceof CommandFailure || hasCode(error)
    const text = error instanceof Error ? (known ? error.message : error.stack) : String(error)
    process.stderr.write(`ringfence: ${text}\n`)
    const hint = error instanceof Error && 'hint' in error ? error.hint : undefined
    if (typeof hint === 'string') process.stderr.write(`hint: ${hint}\n`)
  }
}

/** Errors of servers and of the system carry a code, ours a SQLSTATE or a hint: their message says enough. */
function hasCode(error: unknown): boolean {
  return error instanceof Error && ('code' in error || 'sqlstate' in error || 'hint' in error)
}

await program.parseAsync()
