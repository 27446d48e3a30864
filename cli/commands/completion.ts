// `ringfence completion` on the command line.
import { Argument, type Command } from 'commander'
import { completionScript, shells } from '../completion.ts'
import { finish, out } from '../finish.ts'

/** Adds `completion`, which completes everything that `program` has when it is run. */
export function addCompletionCommand(program: Command): void {
  program
    .command('completion')
    .description('print a script that makes the shell complete commands, options and files')
    .addArgument(new Argument('<shell>', 'which shell').choices(shells))
    .addHelpText('after', examples)
    .action((shell: (typeof shells)[number]) => {
      out(completionScript(program, shell))
      return finish(Promise.resolve(0))
    })
}

const examples = `
Examples:
  $ source <(ringfence completion bash)
  $ ringfence completion zsh > ~/.zfunc/_ringfence
  $ ringfence completion fish > ~/.config/fish/completions/ringfence.fish

Exit codes: 0 done, 2 wrong arguments.`
