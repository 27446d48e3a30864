// One directory per user, /tmp/ringfence-<uid>, for what is worth keeping between runs (a
// ready-made data directory, a copy of the binaries) and for the directories of the runs
// themselves.
import { lstat, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runCommand } from './process.ts'
import { openToServers, reachableByServers } from './server-user.ts'

/** Says that a cached directory was finished, and how many entries it had then. */
const completeFile = 'complete'
/** Directories still being filled; an older one was left by a crash. */
const makingPrefix = 'making-'
const makingAgeMaxMs = 600_000

/** The cache directory, created when missing. Throws when it belongs to another user. */
export async function cacheDirectory(): Promise<string> {
  const uid = process.getuid?.() ?? 0
  const base = (await reachableByServers(tmpdir())) ? tmpdir() : '/tmp'
  const dir = join(base, `ringfence-${uid}`)
  const made = await mkdir(dir, { recursive: true, mode: 0o700 })
  const found = await lstat(dir)
  if (!found.isDirectory() || found.uid !== uid) {
    throw new Error(
      `"${dir}" is not ours (uid ${uid}): remove it, or set TMPDIR to another directory`,
    )
  }
  if (made !== undefined) await spreadSubdirectories(dir)
  await openToServers(dir)
  return dir
}

/**
 * Directory `name` of the cache, filled by `build` when it is missing or has lost entries (cleaners
 * of /tmp). It appears whole or not at all, also when several processes build it at once.
 */
export async function cachedDirectory(
  name: string,
  build: (dir: string) => Promise<void>,
): Promise<string> {
  const cache = await cacheDirectory()
  const target = join(cache, name)
  if (await isComplete(target)) return target
  await removeUnfinished(cache)
  const making = await mkdtemp(join(cache, makingPrefix))
  const aside = `${making}-old`
  try {
    const content = join(making, 'content')
    await mkdir(content)
    await openToServers(making)
    await openToServers(content)
    await build(content)
    await writeFile(join(content, completeFile), '')
    await writeFile(join(content, completeFile), String(await countEntries(content)))
    if (await isComplete(target)) return target
    // There is none the first time; what is in the way otherwise shows at the next step.
    await rename(target, aside).catch(() => undefined)
    await rename(content, target).catch(async (cause: unknown) => {
      if (!(await isComplete(target))) throw cause
    })
    return target
  } finally {
    await rm(making, { recursive: true, force: true })
    await rm(aside, { recursive: true, force: true })
  }
}

/**
 * Tells ext4 to place each subdirectory elsewhere on the disk, by a hash of its name (chattr(1),
 * flag T). It does not hand out an inode again soon after its deletion, and searches past all such
 * in the neighbourhood: without the flag, a cluster started just after another was removed took 3 s
 * instead of 0.7 s.
 */
async function spreadSubdirectories(dir: string): Promise<void> {
  if (process.platform !== 'linux') return
  // Other file systems have no such flag, and no such trouble.
  await runCommand('chattr', ['+T', dir]).catch(() => undefined)
}

async function isComplete(dir: string): Promise<boolean> {
  const expected = await readFile(join(dir, completeFile), 'utf8').catch(() => null)
  return expected !== null && Number(expected) === (await countEntries(dir))
}

async function countEntries(dir: string): Promise<number> {
  return (await readdir(dir, { recursive: true })).length
}

async function removeUnfinished(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    if (!name.startsWith(makingPrefix)) continue
    const path = join(cache, name)
    const made = await lstat(path).catch(() => null)
    if (made === null || Date.now() - made.mtimeMs < makingAgeMaxMs) continue
    await rm(path, { recursive: true, force: true })
  }
}
