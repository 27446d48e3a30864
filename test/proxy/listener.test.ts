// Where clients are accepted: several addresses, and a Unix socket whose name is taken over from the dead alone.
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createLog } from '../../core/log.ts'
import { Listener, type ListenOptions, type Way } from '../../proxy/listener.ts'
import { present } from '../support/clients.ts'

let dir: string
const open: Listener[] = []
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'rf-listen-'))
})
afterEach(async () => {
  for (const listener of open.splice(0)) listener.close()
  await rm(dir, { recursive: true, force: true })
})

async function listen(options: Partial<ListenOptions>): Promise<Listener> {
  const accept = (socket: Socket, way: Way) => socket.end(way)
  const place = { host: '127.0.0.1', port: 0, ...options }
  const listener = await Listener.open(place, accept, createLog('silent'))
  open.push(listener)
  return listener
}

/** What the listener says to who connects there: the way it has come. */
function said(where: { host: string; port: number } | { path: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const socket = connect(where)
    socket.on('data', (chunk) => {
      text += String(chunk)
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
  })
}

const unixSocket = (mode = 0o700) => ({ dir, mode })
const pathOf = ({ port }: { readonly port: number }) => join(dir, `.s.PGSQL.${port}`)

describe('a listener', () => {
  it('accepts on several addresses with one port', async () => {
    const { port } = await listen({ host: ['127.0.0.1', '127.0.0.2'] })
    expect(await said({ host: '127.0.0.1', port })).toBe('tcp')
    expect(await said({ host: '127.0.0.2', port })).toBe('tcp')
  })

  it('that cannot have all of its addresses has none', async () => {
    const first = await listen({ host: '127.0.0.2' })
    const both = listen({ host: ['127.0.0.1', '127.0.0.2'], port: first.port })
    await expect(both).rejects.toThrow(/EADDRINUSE/)
    await expect(said({ host: '127.0.0.1', port: first.port })).rejects.toThrow(/ECONNREFUSED/)
  })

  it('has a Unix socket with the mode that is wanted, and leaves nothing behind', async () => {
    const listener = await listen({ unixSocket: unixSocket(0o770) })
    const path = pathOf(listener)
    expect(await said({ path })).toBe('unix')
    expect((await stat(path)).mode & 0o777).toBe(0o770)
    expect((await readdir(dir)).toSorted()).toEqual([
      `.s.PGSQL.${listener.port}`,
      `.s.PGSQL.${listener.port}.lock`,
    ])
    expect(await readFile(`${path}.lock`, 'utf8')).toBe(`${process.pid}\n`)
    listener.close()
    expect(await readdir(dir)).toEqual([])
  })

  it('does not take a Unix socket from a process that is alive, or that answers', async () => {
    const { port } = await listen({})
    const path = pathOf({ port })
    const living = spawn('sleep', ['60'])
    await writeFile(`${path}.lock`, `${living.pid}\n`)
    await expect(listen({ unixSocket: unixSocket(), port: 0 })).resolves.toBeDefined()
    const taken = bindOf(port)
    await expect(taken).rejects.toThrow(`another process (PID ${living.pid}) uses Unix socket`)
    living.kill('SIGKILL')
    await new Promise((resolve) => living.once('exit', resolve))
    const server = await squatter(path)
    await expect(bindOf(port)).rejects.toThrow('uses Unix socket')
    await new Promise((resolve) => server.close(resolve))
    expect(await said({ path: pathOf(await bindOf(port)) })).toBe('unix')
  })

  it('takes over what a dead process has left behind, also under its own process id', async () => {
    const { port } = await listen({})
    const path = pathOf({ port })
    await symlink('/nowhere', path)
    for (const pid of [process.pid, 2 ** 22 + 1]) {
      await writeFile(`${path}.lock`, `${pid}\n`)
      const listener = await bindOf(port)
      expect(await said({ path })).toBe('unix')
      listener.close()
    }
  })

  it('refuses a directory whose path is too long for a socket', async () => {
    const long = { dir: join(dir, 'x'.repeat(100)), mode: 0o700 }
    await expect(listen({ unixSocket: long })).rejects.toThrow(/is too long \(maximum 107 bytes\)/)
  })

  /** One on 127.0.0.3, with the Unix socket for that port. */
  async function bindOf(port: number): Promise<Listener> {
    return await listen({ host: '127.0.0.3', port, unixSocket: unixSocket() })
  }
})

function squatter(path: string): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy())
    server.listen(path, () => resolve(present(server)))
  })
}
