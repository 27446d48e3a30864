// Every static check in one command: format, lint, types, import rules, dead code, generated docs.
// A tool that looked at nothing has failed: each step names what must stand in its output.
import { spawnSync } from 'node:child_process'

type Step = {
  readonly name: string
  readonly argv: readonly string[]
  readonly sawSomething: RegExp
}

const steps: readonly Step[] = [
  { name: 'format', argv: ['biome', 'format', '.'], sawSomething: /Checked [1-9]\d* files/ },
  {
    name: 'lint',
    argv: ['oxlint', '--type-aware', '--deny-warnings', '.'],
    sawSomething: /on [1-9]\d* files/,
  },
  { name: 'types', argv: ['tsc', '-p', '.', '--listFilesOnly'], sawSomething: /core\/errors\.ts/ },
  { name: 'types', argv: ['tsc', '-p', '.'], sawSomething: /^/ },
  {
    name: 'imports',
    argv: ['depcruise', '--config', '.dependency-cruiser.json', '--output-type', 'err', '.'],
    sawSomething: /[1-9]\d* modules/,
  },
  { name: 'dead code', argv: ['knip', '--no-progress'], sawSomething: /^/ },
  { name: 'docs', argv: ['node', 'tools/docs.ts', '--check'], sawSomething: /[1-9]\d* pages/ },
]

let failed = 0
for (const { name, argv, sawSomething } of steps) {
  const [command = '', ...args] = argv
  const run = spawnSync(command, args, { encoding: 'utf8' })
  const output = `${run.stdout ?? ''}${run.stderr ?? ''}`
  const passed = run.status === 0 && sawSomething.test(output)
  process.stdout.write(`${passed ? 'ok    ' : 'FAILED'} ${name}\n`)
  if (passed) continue
  failed += 1
  process.stdout.write(run.error === undefined ? output : `${run.error.message}\n`)
  if (run.status === 0) process.stdout.write(`${name} looked at nothing: ${argv.join(' ')}\n`)
}
process.exitCode = failed === 0 ? 0 : 1
