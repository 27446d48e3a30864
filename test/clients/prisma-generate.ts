// Makes Prisma's client from prisma/schema.prisma before the tests import it (a vitest globalSetup).
// Generating needs no engine, yet the command wants to download one at its start: naming any existing
// file in its place keeps it offline.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const cwd = fileURLToPath(new URL('.', import.meta.url))

/** Runs `prisma generate`; throws with its output when it fails. */
export function setup(): void {
  const command = fileURLToPath(new URL('node_modules/prisma/build/index.js', import.meta.url))
  const offline = {
    PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    CHECKPOINT_DISABLE: '1',
    PRISMA_HIDE_UPDATE_MESSAGE: '1',
  }
  const argv = [command, 'generate', '--schema', 'prisma/schema.prisma']
  const env = { ...process.env, ...offline }
  const run = spawnSync(process.execPath, argv, { cwd, env, encoding: 'utf8' })
  if (run.status !== 0) throw new Error(`prisma generate failed:\n${run.stdout}${run.stderr}`)
}
