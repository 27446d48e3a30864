// `ringfence schema …` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { configOption, databaseOption, jsonOption } from '../options.ts'
import { schemaDiffCommand, type SchemaDiffOptions } from '../schema-diff.ts'

/** Adds `schema` with its commands. */
export function addSchemaCommand(program: Command): void {
  const schema = program
    .command('schema')
    .description('compare the schemas of the shards')
    .addHelpText('after', examples)
  schema
    .command('diff')
    .description('what the shards have otherwise than the home shard, and what would align them')
    .addOption(configOption())
    .addOption(databaseOption())
    .addOption(jsonOption())
    .action((options: SchemaDiffOptions) => finish(schemaDiffCommand(options, out)))
}

const examples = `
Examples:
  $ ringfence schema diff --config ringfence.yaml
  $ ringfence schema diff --database app --json

Compared are tables, columns, constraints, indexes, triggers, partitions, functions, types, views
and extensions. Tables of the home shard alone are left out, and so is what Ringfence made.
Exit codes: 0 the same everywhere, 1 differences or a shard cannot be asked, 2 wrong arguments.`
