// `ringfence import-pgbouncer` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { importPgbouncerCommand, type ImportOptions } from '../import-pgbouncer.ts'
import { jsonOption } from '../options.ts'

type ImportFlags = Omit<ImportOptions, 'output'> & { readonly output?: string }

/** Adds `import-pgbouncer`. */
export function addImportPgbouncerCommand(program: Command): void {
  program
    .command('import-pgbouncer')
    .description('make a ringfence.yaml from a pgbouncer.ini and its userlist.txt')
    .argument('<file>', 'pgbouncer.ini')
    .option('-o, --output <file>', 'file to write; else standard output')
    .option('--force', 'overwrite it', false)
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action((file: string, options: ImportFlags) =>
      finish(importPgbouncerCommand(file, { ...options, output: options.output ?? null }, out)),
    )
}

const examples = `
Examples:
  $ ringfence import-pgbouncer pgbouncer.ini
  $ ringfence import-pgbouncer pgbouncer.ini --output pooled.yaml

What has no counterpart becomes a comment; where something is lost there is a warning.
Exit codes: 0 done, 1 the file cannot be read or written, 2 wrong arguments.`
