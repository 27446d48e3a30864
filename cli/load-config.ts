// Reads a configuration file for a command: the config, or every problem of the file printed at once.
import { readFile } from 'node:fs/promises'
import type { Config } from '../config/config.ts'
import { loadConfig } from '../config/load.ts'
import { formatProblem } from '../config/problems.ts'

/** A command that cannot go on; the message is for the operator, exit code 1. */
export class CommandFailure extends Error {}

/** @throws CommandFailure naming every problem of the file */
export async function readConfig(file: string): Promise<Config> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CommandFailure(`cannot read "${file}": ${String(cause)}`, { cause })
  })
  const loaded = loadConfig(text, { file, env: process.env })
  if (!loaded.ok) throw new CommandFailure(loaded.problems.map(formatProblem).join('\n'))
  for (const warning of loaded.warnings) process.stderr.write(`${formatProblem(warning)}\n`)
  return loaded.config
}
