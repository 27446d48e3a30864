// `ringfence explain` on the command line.
import type { Command } from 'commander'
import { explainCommand, type ExplainOptions } from '../explain.ts'
import { finish, out } from '../finish.ts'
import { configOption, databaseOption, jsonOption } from '../options.ts'

/** Adds `explain`. */
export function addExplainCommand(program: Command): void {
  program
    .command('explain')
    .description('show how a statement would go, without running it')
    .argument('<statement>', 'SQL')
    .addOption(configOption())
    .addOption(databaseOption())
    .addOption(jsonOption())
    .action((statement: string, options: ExplainOptions) =>
      finish(explainCommand(statement, options, out)),
    )
}
