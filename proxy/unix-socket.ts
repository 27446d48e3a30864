// The name of a Unix socket in its directory, `.s.PGSQL.<port>`, and the lock beside it that says whose it is, both as
// PostgreSQL has them (miscinit.c, CreateLockFile). What a dead process has left behind is taken over, what a living
// one serves never is.
import { chmod, link, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { readFileSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'

export type UnixSocketOptions = {
  readonly dir: string
  /** File mode of the socket: who may connect. */
  readonly mode: number
}

export type UnixSocket = {
  readonly path: string
  /** Removes the names, unless they have become somebody else's. May be called again. */
  readonly close: () => void
}

const lockAttemptsMax = 100
/** sun_path of unix(7) is 108 bytes with its closing NUL. */
const pathBytesMax = 107

/**
 * Has `listen` listen under the name for `port`. The socket gets its mode before anybody can see it.
 * @throws Error when another process serves it, or the system's error
 */
export async function bindUnixSocket(
  { dir, mode }: UnixSocketOptions,
  port: number,
  listen: (path: string) => Promise<void>,
): Promise<UnixSocket> {
  const path = join(dir, `.s.PGSQL.${port}`)
  const birthName = `${path}.${process.pid}`
  if (Buffer.byteLength(birthName) > pathBytesMax) {
    throw new Error(`Unix socket path "${path}" is too long (maximum ${pathBytesMax} bytes)`)
  }
  const lock = `${path}.lock`
  await takeLock(lock, path)
  try {
    await unlinkIfThere(birthName)
    await listen(birthName)
    await chmod(birthName, mode)
    await rename(birthName, path)
  } catch (error) {
    await unlinkIfThere(lock)
    throw error
  }
  const { ino } = statSync(path)
  return { path, close: () => giveUp(path, lock, ino) }
}

/** The socket of a process whose place this one takes, by its consent: the lock says so from now on. */
export function adoptUnixSocket({ dir }: UnixSocketOptions, port: number): UnixSocket {
  const path = join(dir, `.s.PGSQL.${port}`)
  const lock = `${path}.lock`
  writeFileSync(lock, `${process.pid}\n`, { mode: 0o600 })
  const { ino } = statSync(path)
  return { path, close: () => giveUp(path, lock, ino) }
}

/** The lock is a file with our process id, never without one, and only one process can give it this name. */
async function takeLock(lock: string, path: string): Promise<void> {
  const own = `${lock}.${process.pid}`
  await writeFile(own, `${process.pid}\n`, { mode: 0o600 })
  try {
    await claim(own, lock, path)
  } finally {
    await unlinkIfThere(own)
  }
}

async function claim(own: string, lock: string, path: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await link(own, lock)
    } catch (error) {
      if (codeOf(error) !== 'EEXIST' || attempt === lockAttemptsMax) throw error
    }
    const text = await readFile(lock, 'utf8').catch(() => '')
    const pid = Number.parseInt(text, 10)
    if (await isServed(pid, path)) {
      throw new Error(
        `another process (PID ${pid}) uses Unix socket "${path}"; if it does not, remove "${lock}"`,
      )
    }
    await unlinkIfThere(lock)
  }
}

/** In a container that starts anew we may have the process id of the one that has died. */
async function isServed(pid: number, path: string): Promise<boolean> {
  if (pid > 0 && pid !== process.pid && isAlive(pid)) return true
  return await new Promise((resolve) => {
    const socket = connect({ path })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

/** A process that was started after us may have taken the names over in the meantime. */
function giveUp(path: string, lock: string, ino: number): void {
  try {
    if (readFileSync(lock, 'utf8').trim() !== String(process.pid)) return
    if (statSync(path).ino === ino) unlinkSync(path)
    unlinkSync(lock)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
  }
}

async function unlinkIfThere(path: string): Promise<void> {
  await unlink(path).catch((error: unknown) => {
    if (codeOf(error) !== 'ENOENT') throw error
  })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
