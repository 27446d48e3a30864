// All commands but `serve`, in the order in which help lists them: what they load, a proxy has no use for.
import type { Command } from 'commander'
import { addAdviseCommand } from './advise.ts'
import { addBenchCommand } from './bench.ts'
import { addCheckCommand } from './check.ts'
import { addCompletionCommand } from './completion.ts'
import { addDemoCommand } from './demo.ts'
import { addExplainCommand } from './explain.ts'
import { addHashPasswordCommand } from './hash-password.ts'
import { addImportCommand } from './import.ts'
import { addImportPgbouncerCommand } from './import-pgbouncer.ts'
import { addInitCommand } from './init.ts'
import { addKeyCommand } from './key.ts'
import { addRebalanceCommand } from './rebalance.ts'
import { addSchemaCommand } from './schema.ts'
import { addShardCommand } from './shard.ts'
import { addTopCommand } from './top.ts'
import { addTopologyCommand } from './topology.ts'
import { addUpgradeCommand } from './upgrade.ts'

/** Adds them. */
export function addOtherCommands(program: Command): void {
  const adders = [
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
}
