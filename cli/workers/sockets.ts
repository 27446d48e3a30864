// The sockets that clients connect to, where several processes share them. The supervisor binds them and keeps them
// open; each worker inherits one as a file descriptor and listens on it. A worker that dies leaves its socket
// behind with everybody who stands in its queue: the next worker serves them. The same when a new version takes over.
// With SO_REUSEPORT there is a socket for each worker, and the kernel spreads connections; where a system has no such
// thing, all workers listen on one.
import { lookup } from 'node:dns/promises'
import * as net from 'node:net'
import { getSystemErrorName } from 'node:util'
import { CommandFailure } from '../load-config.ts'

/** File descriptors of sockets that are bound; whoever listens on one gets its clients. */
export type SharedSockets = {
  /** Of each address one for each worker, or one for all. */
  readonly tcp: readonly number[]
  readonly port: number
  readonly unix: number | null
  /** Closes this process's own descriptors; who has inherited them goes on. */
  close(): void
}

// uv.h: UV_TCP_REUSEPORT.
const reusePortFlag = 2

/** A handle of libuv that is bound and does not listen: net.Server cannot be had without listening. */
type Bound = { readonly handle: object; readonly fd: number; readonly port: number }

/** Binds `count` sockets to each address, all of one port. @throws CommandFailure when one cannot be had */
export async function bindShared(
  { hosts, port }: { readonly hosts: readonly string[]; readonly port: number },
  count: number,
): Promise<Omit<SharedSockets, 'unix'>> {
  const all: Bound[] = []
  for (const host of hosts) all.push(...(await bindAt(host, all[0]?.port ?? port, count)))
  return {
    tcp: all.map(({ fd }) => fd),
    port: all[0]?.port ?? port,
    close: () => all.forEach(({ handle }) => void invoke(handle, 'close')),
  }
}

/** Binds a Unix socket to `path`, which goes when the socket is closed. @throws CommandFailure */
export function bindPath(path: string): number {
  return insist(bind(path, -1, -1, 0), path).fd
}

async function bindAt(host: string, port: number, count: number): Promise<readonly Bound[]> {
  const { address, family } = await lookup(host).catch((cause: unknown) => {
    throw new CommandFailure(`cannot listen on "${host}": ${String(cause)}`, { cause })
  })
  // With SO_REUSEPORT another program of the same user could share the port by mistake.
  if (port !== 0) await probe(address, port)
  const first = bind(address, family, port, reusePortFlag)
  const bound = [typeof first === 'string' ? insist(bind(address, family, port, 0), host) : first]
  if (typeof first === 'string') return bound
  while (bound.length < count) {
    bound.push(insist(bind(address, family, first.port, reusePortFlag), host))
  }
  return bound
}

function probe(host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once('error', reject)
    server.listen({ host, port }, () => server.close(() => resolve()))
  })
}

/** The system's error by its name where there is one. */
function bind(address: string, family: number, port: number, flags: number): Bound | string {
  const create: unknown = Reflect.get(net, '_createServerHandle')
  if (typeof create !== 'function') {
    throw new CommandFailure('this version of Node.js cannot share a port; set "workers: 1"')
  }
  const handle: unknown = Reflect.apply(create, undefined, [address, port, family, null, flags])
  if (typeof handle === 'number') return getSystemErrorName(handle)
  if (typeof handle !== 'object' || handle === null) return 'no handle'
  const name: { port?: number } = {}
  if (port >= 0) invoke(handle, 'getsockname', name)
  const fd: unknown = Reflect.get(handle, 'fd')
  if (typeof fd === 'number' && fd >= 0) return { handle, fd, port: name.port ?? port }
  invoke(handle, 'close')
  return 'no descriptor'
}

function insist(bound: Bound | string, host: string): Bound {
  if (typeof bound !== 'string') return bound
  throw new CommandFailure(`cannot listen on "${host}": ${bound}`)
}

function invoke(handle: object, method: string, ...args: readonly unknown[]): unknown {
  const found: unknown = Reflect.get(handle, method)
  return typeof found === 'function' ? Reflect.apply(found, handle, args) : undefined
}
