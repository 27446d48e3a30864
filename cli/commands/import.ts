// `ringfence import` on the command line.
import { type Command, InvalidArgumentError, Option } from 'commander'
import { finish, out } from '../finish.ts'
import { importCommand, type ImportOptions } from '../import.ts'
import { jsonOption } from '../options.ts'

/** Adds `import`. */
export function addImportCommand(program: Command): void {
  const keyTypes = ['bigint', 'text', 'uuid']
  program
    .command('import')
    .description('make one PostgreSQL that is there the first shard of a cluster')
    .requiredOption('--url <url>', 'postgres://user:password@host:5432/database')
    .requiredOption('--key <column>', 'every table that has this column is sharded by it')
    .addOption(new Option('--key-type <type>', 'default: what the columns are').choices(keyTypes))
    .option('--reference <tables>', 'tables with the same rows on every shard: a,b', names, [])
    .option(
      '--home <tables>',
      'tables that stay on this server although they have the key',
      names,
      [],
    )
    .option('--table-key <table=column>', 'a table with another key, repeatable', keyed, new Map())
    .option('-o, --output <file>', 'where the configuration is written', 'ringfence.yaml')
    .option('--force', 'replace the file', false)
    .option('--no-init', 'write the file only; "ringfence init" then makes the catalog')
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action((options: ImportOptions) => finish(importCommand(options, out)))
}

function names(text: string, earlier: readonly string[]): readonly string[] {
  const given = text.split(',').map((name) => name.trim())
  if (given.includes('')) throw new InvalidArgumentError('Write it like a,b,c.')
  return [...earlier, ...given]
}

function keyed(text: string, earlier: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const [, table, column] = /^([^=]+)=([^=]+)$/.exec(text) ?? []
  if (table === undefined || column === undefined) {
    throw new InvalidArgumentError('Write it like tenants=id.')
  }
  return new Map([...earlier, [table, column]])
}

const examples = `
Examples:
  $ ringfence import --url postgres://app:secret@10.0.0.1/app --key tenant_id
  $ ringfence import --url postgres://app:secret@10.0.0.1/app --key tenant_id --table-key tenants=id --reference countries,currencies

Rows and tables stay as they are; sequences of sharded tables step by 1,024 afterwards, so that
numbers stay unique over all shards.
Exit codes: 0 done, 1 something is in the way and nothing was changed, 2 wrong arguments.`
