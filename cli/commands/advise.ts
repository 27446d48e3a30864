// `ringfence advise` on the command line.
import { type Command, Option } from 'commander'
import { adviseCommand, type AdviseOptions } from '../advise.ts'
import { finish, out } from '../finish.ts'
import { atLeast, configOption, databaseOption, jsonOption } from '../options.ts'

/** Adds `advise`. */
export function addAdviseCommand(program: Command): void {
  program
    .command('advise')
    .description('tell how the traffic of a database would route with a proposed shard key')
    .argument('[file]', 'log of PostgreSQL or file of SQL, "-" for stdin; else pg_stat_statements')
    .option('--key <column>', 'proposed shard key; else that of the configuration')
    .addOption(
      new Option(
        '--key-type <type>',
        "the key's type; else that of most columns of its name",
      ).choices(['bigint', 'text', 'uuid']),
    )
    .option('--reference <tables>', 'tables to copy to every shard, separated by commas', names, [])
    .option('--url <url>', 'database to read the schema from, instead of the configuration’s')
    .addOption(configOption())
    .addOption(databaseOption())
    .addOption(
      new Option('--format <format>', 'how the file is written; else found out').choices([
        'stderr',
        'csv',
        'json',
        'sql',
      ]),
    )
    .option('--top <n>', 'statements to show of each kind', atLeast(1, 100_000), 10)
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action((file: string | undefined, options: AdviseOptions) =>
      finish(adviseCommand(file ?? null, options, out)),
    )
}

function names(text: string, earlier: readonly string[]): readonly string[] {
  const listed = text.split(',').map((name) => name.trim())
  return [...earlier, ...listed.filter((name) => name !== '')]
}

const examples = `
Examples:
  $ ringfence advise --url postgres://app:pencil@10.0.0.1/app --key tenant_id
  $ ringfence advise postgresql.log --url postgres://app:pencil@10.0.0.1/app --key tenant_id
  $ ringfence advise queries.sql --config ringfence.yaml --reference products,countries
  $ cat postgresql.csv | ringfence advise - --key tenant_id --top 3 --json

The schema is read from the database; nothing is run there and nothing is changed.
Exit codes: 0 done, 1 nothing to judge or the database cannot be read, 2 wrong arguments.`
