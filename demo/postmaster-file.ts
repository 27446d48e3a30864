// postmaster.pid, the file in which a running PostgreSQL says who it is
// (src/include/utils/pidfile.h).
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { commandLine, processIdentity } from './process.ts'

/** The lines that are of use here. */
export type PostmasterFile = {
  readonly pid: number
  /**
   * `starting`, `stopping`, `ready` or `standby` (recovery that does not accept connections yet).
   */
  readonly status: string
  /** System V shared memory: key and id; null while the server is starting. */
  readonly sharedMemory: { readonly key: number; readonly id: number } | null
}

/**
 * What the server of `dataDir` wrote last; null without a file: it never ran or was shut down
 * cleanly.
 */
export async function readPostmasterFile(dataDir: string): Promise<PostmasterFile | null> {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => null)
  if (text === null) return null
  const lines = text.split('\n')
  const [key, id] = (lines[6] ?? '').trim().split(/\s+/).map(Number)
  return {
    pid: Number(lines[0]),
    status: (lines[7] ?? '').trim(),
    sharedMemory: key === undefined || id === undefined ? null : { key, id },
  }
}

/** Process id of the server that runs on `dataDir` now; null when none does. */
export async function runningPostmaster(dataDir: string): Promise<number | null> {
  const pid = (await readPostmasterFile(dataDir))?.pid ?? 0
  if (pid <= 0 || processIdentity(pid) === null) return null
  // The id may be somebody else's by now.
  return commandLine(pid).includes(dataDir) ? pid : null
}
