// How a command ends: its exit code, or what a person is told of what was thrown.
import { CommandFailure } from './load-config.ts'

/** Where commands print their results. */
export function out(text: string): void {
  process.stdout.write(text)
}

/** Sets the exit code when `command` ends; a refusal is shown as it is, a bug with its stack. */
export async function finish(command: Promise<number>): Promise<void> {
  try {
    process.exitCode = await command
  } catch (error) {
    process.exitCode = 1
    const known = error instanceof CommandFailure || hasCode(error) || isLoss(error)
    const text = error instanceof Error ? (known ? error.message : error.stack) : String(error)
    process.stderr.write(`ringfence: ${text}\n`)
    const hint = error instanceof Error && 'hint' in error ? error.hint : undefined
    if (typeof hint === 'string') process.stderr.write(`hint: ${hint}\n`)
  }
}

/** Errors of servers and of the system carry a code, ours a SQLSTATE or a hint: their message says enough. */
function hasCode(error: unknown): boolean {
  return error instanceof Error && ('code' in error || 'sqlstate' in error || 'hint' in error)
}

/** Lost connections and servers that do not answer, which pg tells by their text alone. */
function isLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return /^(?:Connection terminated|timeout expired|Query read timeout)/.test(error.message)
}
