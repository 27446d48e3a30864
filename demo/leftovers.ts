// Stops servers that their owner can no longer stop, known only by the files in their directories.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readPostmasterFile, runningPostmaster } from './postmaster-file.ts'
import { commandLine, processIdentity, runCommand, signalProcess, waitUntil } from './process.ts'

/** Each server of a run writes its process id there when it has no postmaster.pid of its own. */
export const pidFile = 'server.pid'

const patienceMs = 2000

/**
 * Stops every server below `runDir`: PostgreSQL with `signal`, and with SIGKILL what is still there
 * after 2 s.
 */
export async function stopLeftovers(runDir: string, signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
  const names = await readdir(runDir).catch(() => [])
  await Promise.all(
    names.map(async (name) => {
      const dir = join(runDir, name)
      const postmaster = await runningPostmaster(join(dir, 'data'))
      if (postmaster !== null) await end(postmaster, signal)
      await removeSharedMemory(join(dir, 'data'))
      const other = Number(await readFile(join(dir, pidFile), 'utf8').catch(() => '0'))
      if (other > 0 && commandLine(other).includes(dir)) await end(other, 'SIGTERM')
    }),
  )
}

async function end(pid: number, signal: NodeJS.Signals): Promise<void> {
  const gone = () => processIdentity(pid) === null
  signalProcess(pid, signal)
  if (await waitUntil(gone, patienceMs)) return
  signalProcess(pid, 'SIGKILL')
  await waitUntil(gone, patienceMs)
}

/**
 * A killed server leaves its System V segment (56 bytes, but there are only 4,096 of them on a
 * machine).
 */
async function removeSharedMemory(dataDir: string): Promise<void> {
  const segment = (await readPostmasterFile(dataDir))?.sharedMemory ?? null
  if (segment === null) return
  const list = await readFile('/proc/sysvipc/shm', 'utf8').catch(() => '')
  const columns = list.split('\n').map((line) => line.trim().split(/\s+/).map(Number))
  // proc_pid_sysvipc(5): key, shmid, perms, size, cpid, lpid, nattch.
  const unused = columns.some(
    ([key, id, , , , , attached]) => key === segment.key && id === segment.id && attached === 0,
  )
  if (unused) await runCommand('ipcrm', ['-m', String(segment.id)]).catch(() => undefined)
}
