// `ringfence hash-password` on the command line.
import type { Command } from 'commander'
import { finish, out } from '../finish.ts'
import { hashPasswordCommand, type HashPasswordOptions } from '../hash-password.ts'
import { atLeast, jsonOption } from '../options.ts'

/** Adds `hash-password`. */
export function addHashPasswordCommand(program: Command): void {
  program
    .command('hash-password')
    .description('print the SCRAM-SHA-256 verifier of a password that is typed or piped in')
    .option('-u, --user <name>', 'print an entry of "users" in ringfence.yaml')
    // RFC 7677 asks for 4,096 or more; beyond a million a login takes seconds.
    .option('--iterations <n>', 'rounds of the hash', atLeast(4096, 1_000_000), 4096)
    .addOption(jsonOption())
    .addHelpText('after', examples)
    .action((options: HashPasswordOptions) => finish(hashPasswordCommand(options, out)))
}

const examples = `
Examples:
  $ echo secret | ringfence hash-password
  $ echo secret | ringfence hash-password --user app --iterations 10000

On a terminal the password is asked for twice and not shown.
Exit codes: 0 done, 1 no password, 2 wrong arguments.`
