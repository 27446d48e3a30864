// A run: one process of ours and the directory that holds its servers. Nothing of a run outlives
// it: a watchdog (a shell that waits for the end of a pipe) cleans up when the process is killed,
// and the next run cleans up what a killed watchdog left.
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cacheDirectory } from './cache-dir.ts'
import { stopLeftovers } from './leftovers.ts'
import { processIdentity } from './process.ts'
import { openToServers, reachableByServers } from './server-user.ts'

/** A directory that is ours until `end`. */
export type Run = {
  /** Holds one directory per server. */
  readonly dir: string
  /** Process id of the watchdog. */
  readonly watchdogPid: number
  /** Stops servers that still run. A temporary directory goes, a kept one stays. */
  end(): Promise<void>
}

const runPrefix = 'run-'
const ownerFile = 'owner.pid'
/** Time that a new run has to write its owner's file. */
const unownedAgeMaxMs = 60_000

/** Starts a run in `dir`, which is then kept, or in a temporary directory when null. */
export async function openRun(dir: string | null): Promise<Run> {
  await removeDeadRuns()
  const runDir = dir === null ? await makeTemporary() : await openKept(dir)
  await writeFile(join(runDir, ownerFile), processIdentity(process.pid) ?? '')
  const watchdog = startWatchdog(runDir, dir !== null)
  const end = async () => {
    await closeRun(runDir, dir !== null)
    watchdog.stdin?.end('the run ended\n')
  }
  return { dir: runDir, watchdogPid: watchdog.pid ?? 0, end }
}

/**
 * Stops what still runs in `dir` and ends its ownership; removes the directory too unless it is
 * `kept`.
 */
export async function closeRun(dir: string, kept: boolean): Promise<void> {
  await stopLeftovers(dir, kept ? 'SIGINT' : 'SIGQUIT')
  const removed = kept ? join(dir, ownerFile) : dir
  await rm(removed, { recursive: true, force: true, maxRetries: 3 })
}

async function makeTemporary(): Promise<string> {
  const dir = await mkdtemp(join(await cacheDirectory(), runPrefix))
  await openToServers(dir)
  return dir
}

async function openKept(given: string): Promise<string> {
  const dir = resolve(given)
  await mkdir(dir, { recursive: true })
  if (!(await reachableByServers(dir))) {
    throw new Error(
      `servers run as "nobody", who may not enter "${dir}": choose one under /tmp or /var`,
    )
  }
  const owner = await findOwner(dir)
  if (owner.kind === 'alive') throw new Error(`"${dir}" is in use by process ${owner.pid}`)
  await closeRun(dir, true)
  return dir
}

async function removeDeadRuns(): Promise<void> {
  const cache = await cacheDirectory()
  const runs = (await readdir(cache)).filter((name) => name.startsWith(runPrefix))
  await Promise.all(
    runs.map(async (name) => {
      const dir = join(cache, name)
      if ((await findOwner(dir)).kind === 'dead') await closeRun(dir, false)
    }),
  )
}

type Owner =
  | { readonly kind: 'alive'; readonly pid: number }
  | { readonly kind: 'dead' }
  /** The directory is too young to tell, or gone. */
  | { readonly kind: 'unknown' }

async function findOwner(dir: string): Promise<Owner> {
  const identity = await readFile(join(dir, ownerFile), 'utf8').catch(() => '')
  if (identity === '') {
    const made = await stat(dir).catch(() => null)
    const old = made !== null && Date.now() - made.mtimeMs > unownedAgeMaxMs
    return { kind: old ? 'dead' : 'unknown' }
  }
  const pid = Number.parseInt(identity, 10)
  return processIdentity(pid) === identity ? { kind: 'alive', pid } : { kind: 'dead' }
}

function startWatchdog(dir: string, kept: boolean): ChildProcess {
  const close = `
    import(process.argv[1]).then((run) => run.closeRun(process.argv[2], ${kept}))
  `
  // `read` ends without a line, that is with failure, when our end of the pipe was closed by our
  // death.
  const wait = 'read -r _ || exec "$@"'
  const argv = [process.execPath, '--eval', close, fileURLToPath(import.meta.url), dir]
  const watchdog = spawn('/bin/sh', ['-c', wait, 'ringfence-watchdog', ...argv], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watchdog.unref()
  watchdog.once('error', () => undefined)
  watchdog.stdin.once('error', () => undefined)
  return watchdog
}
