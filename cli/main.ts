// The command line is put together here. Options and help of a command stand in commands/, its work beside.
import { Command } from 'commander'
import { addServeCommand } from './commands/serve.ts'
import { programVersion } from './version.ts'

// Whoever reads our output, such as head, may stop doing so: what is under way is stopped as by Ctrl-C.
process.stdout.on('error', () => {
  if (!process.emit('SIGINT')) process.exit(1)
})

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

addServeCommand(program)
// A proxy runs for long: it loads nothing that it does not need.
if (process.argv[2] !== 'serve') {
  const { addOtherCommands } = await import('./commands/others.ts')
  addOtherCommands(program)
}

await program.parseAsync()
