// PostgreSQL refuses to run as root. Started by root (containers, CI), every server of the demo
// runs as "nobody" and owns its directories; started by anybody else, servers run as that user.
import { chmod, chown, mkdir, realpath, stat } from 'node:fs/promises'
import { dirname } from 'node:path'

const nobody = 65534
const isRoot = process.getuid?.() === 0

/** The `uid` and `gid` to spawn servers with; empty when that is our own user. */
export function serverUser(): { readonly uid?: number; readonly gid?: number } {
  return isRoot ? { uid: nobody, gid: nobody } : {}
}

/** Creates `dir` for the servers' own user; nobody else may look into it. Its parent must exist. */
export async function makeServerDirectory(dir: string): Promise<void> {
  await mkdir(dir, { mode: 0o700 })
  await giveToServers(dir)
}

/** Makes `path` the servers' own. */
export async function giveToServers(path: string): Promise<void> {
  if (isRoot) await chown(path, nobody, nobody)
}

/** Lets the servers' user walk through a directory of ours, whatever the umask made of it. */
export async function openToServers(dir: string): Promise<void> {
  await chmod(dir, isRoot ? 0o755 : 0o700)
}

/** True when the servers' user may enter every directory on the way to `path`. */
export async function reachableByServers(path: string): Promise<boolean> {
  if (!isRoot) return true
  for (let dir = await realpath(path); ; dir = dirname(dir)) {
    const { mode, uid } = await stat(dir)
    if ((mode & 0o001) === 0 && !(uid === nobody && (mode & 0o100) !== 0)) return false
    if (dir === dirname(dir)) return true
  }
}
