// Which running proxies a command speaks to, and as whom.
import type { Config } from '../config/config.ts'
import type { AdminLogin, ProxyAddress } from './admin-client.ts'
import { CommandFailure } from './load-config.ts'
import type { ProxyAt } from './options.ts'

/** Those that were named with --proxy, else the one that the file describes. @throws CommandFailure without a port */
export function proxiesOf(
  { listen, tls }: Config,
  given: readonly ProxyAt[],
): readonly ProxyAddress[] {
  // On this machine nobody asks for TLS.
  const host = listen.unixSocket?.dir ?? listen.hosts[0] ?? '127.0.0.1'
  const proxies = given.length === 0 ? [{ host, port: null }] : given
  const encrypted = tls.client.mode !== 'disable'
  return proxies.map((proxy) => ({
    ...addressOf(proxy.host, proxy.port ?? listen.port),
    encrypted,
  }))
}

/** Who listens everywhere is reached by the loopback address. */
function addressOf(host: string, port: number): Pick<ProxyAddress, 'host' | 'port'> {
  if (port === 0) throw new CommandFailure('listen.port is 0: name the proxies with --proxy')
  if (host === '0.0.0.0') return { host: '127.0.0.1', port }
  return { host: host === '::' ? '::1' : host, port }
}

/** The first admin of the file who has a password. @throws CommandFailure when there is none */
export function adminOf({ users }: Config): AdminLogin {
  for (const { name, secret, admin } of users) {
    if (admin && secret.kind === 'password') return { user: name, password: secret.password }
  }
  throw new CommandFailure(
    'the file lists no user with "admin: true" and a password to log in with',
  )
}

/** `10.0.0.1:6432`. */
export function proxyName({ host, port }: ProxyAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
