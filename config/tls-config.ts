// Listening sockets and encryption as the program uses them, and what of them cannot be meant that way.
import { resolve } from 'node:path'
import { type Contradiction, error } from './contradiction.ts'
import type { FileSettings } from './settings.ts'
import type { TlsModeSetting } from './tls-settings.ts'

export type ListenConfig = {
  /** At least one. */
  readonly hosts: readonly string[]
  readonly port: number
  readonly backlog: number
  /** 0: never. */
  readonly keepAliveMs: number
  readonly unixSocket: { readonly dir: string; readonly mode: number } | null
}

/** Absolute paths of PEM files. */
type TlsSideConfig = {
  readonly mode: TlsModeSetting
  readonly cert: string | null
  readonly key: string | null
  readonly ca: string | null
  readonly protocols: 'secure' | 'tlsv1.2' | 'tlsv1.3'
  readonly ciphers: string | null
}

export type TlsConfig = {
  readonly client: TlsSideConfig
  readonly server: TlsSideConfig & { readonly channelBinding: 'disable' | 'prefer' | 'require' }
}

/** Paths are relative to `directory`. */
export function listenOf(listen: FileSettings['listen'], directory: string): ListenConfig {
  const { host, port, backlog, unix_socket_dir: dir, unix_socket_mode: mode } = listen
  return {
    hosts: host,
    port,
    backlog,
    keepAliveMs: listen.tcp_keepalive,
    unixSocket: dir === null ? null : { dir: resolve(directory, dir), mode },
  }
}

/** Paths are relative to `directory`. */
export function tlsOf({ client, server }: FileSettings['tls'], directory: string): TlsConfig {
  const side = (given: FileSettings['tls']['client']): TlsSideConfig => {
    const path = (file: string | null) => (file === null ? null : resolve(directory, file))
    const { cert, key, ca } = given
    return { ...given, cert: path(cert), key: path(key), ca: path(ca) }
  }
  const { channel_binding: channelBinding, ...common } = server
  return { client: side(client), server: { ...side(common), channelBinding } }
}

/** Modes without the files that they need. */
export function tlsContradictions({ tls, auth, databases }: FileSettings): Contradiction[] {
  const found: Contradiction[] = []
  const lacks = (side: 'client' | 'server', name: 'cert' | 'key' | 'ca', why: string) => {
    if (tls[side][name] !== null) return
    const path = ['tls', side, name]
    const about = [['tls', side, 'mode'], ['databases']]
    found.push(error(path, `is missing: ${why}`, 'name a PEM file', about))
  }
  const { client, server } = tls
  if (client.mode !== 'disable') {
    lacks('client', 'cert', `mode ${client.mode} shows clients a certificate`)
    lacks('client', 'key', `mode ${client.mode} shows clients a certificate`)
  }
  if (client.mode.startsWith('verify')) {
    lacks('client', 'ca', `mode ${client.mode} checks clients’ certificates by it`)
  }
  if (auth.rules?.some(({ method }) => method === 'cert') === true) {
    if (client.mode === 'disable') {
      const message = 'is disable, but a rule wants client certificates'
      found.push(error(['tls', 'client', 'mode'], message, 'allow TLS', [['auth', 'rules']]))
    }
    lacks('client', 'ca', 'method cert checks clients’ certificates by it')
  }
  if (server.cert !== null) lacks('server', 'key', 'a certificate is of no use without its key')
  if (server.key !== null) lacks('server', 'cert', 'a key is of no use without its certificate')
  const urls = Object.values(databases).flatMap(({ shards }) =>
    shards.flatMap(({ primary, replicas }) => [primary, ...replicas.map(({ url }) => url)]),
  )
  const strict = [server.mode, ...urls.map(({ tlsMode }) => tlsMode ?? '')].find((mode) =>
    mode.startsWith('verify'),
  )
  if (strict !== undefined) lacks('server', 'ca', `mode ${strict} checks servers by it`)
  return found
}
