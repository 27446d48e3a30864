// The command line is put together here. Options and help of a command stand in commands/, its work beside.
import { Command } from 'commander'
import { addAdviseCommand } from './commands/advise.ts'
import { addBenchCommand } from './commands/bench.ts'
import { addCheckCommand } from './commands/check.ts'
import { addCompletionCommand } from './commands/completion.ts'
import { addDemoCommand } from './commands/demo.ts'
import { addExplainCommand } from './commands/explain.ts'
import { addHashPasswordCommand } from './commands/hash-password.ts'
import { addImportCommand } from './commands/import.ts'
import { addImportPgbouncerCommand } from './commands/import-pgbouncer.ts'
import { addInitCommand } from './commands/init.ts'
import { addKeyCommand } from './commands/key.ts'
import { addRebalanceCommand } from './commands/rebalance.ts'
import { addSchemaCommand } from './commands/schema.ts'
import { addServeCommand } from './commands/serve.ts'
import { addShardCommand } from './commands/shard.ts'
import { addTopCommand } from './commands/top.ts'
import { addTopologyCommand } from './commands/topology.ts'
import { addUpgradeCommand } from './commands/upgrade.ts'
import { programVersion } from './version.ts'

// Whoever reads our output, such as head, may stop doing so.
process.stdout.on('error', () => process.exit())

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

// In the order in which help lists them.
const adders = [
  addServeCommand,
  addUpgradeCommand,
  addInitCommand,
  addCheckCommand,
  addExplainCommand,
  addAdviseCommand,
  addDemoCommand,
  addShardCommand,
  addRebalanceCommand,
  addKeyCommand,
  addTopCommand,
  addBenchCommand,
  addTopologyCommand,
  addSchemaCommand,
  addHashPasswordCommand,
  addImportCommand,
  addImportPgbouncerCommand,
  addCompletionCommand,
]
for (const add of adders) add(program)

await program.parseAsync()
