// Who may not log in over the connection that they have, by `tls.client.mode`. Pure.
import { type PgError, pgError } from '../core/errors.ts'
import type { ClientTlsFacts, ClientTlsMode } from './client-tls.ts'
import type { Way } from './listener.ts'
import type { ClientStartup } from './startup-parameters.ts'

/** Null when TLS is no obstacle. Unix sockets need none: what they carry does not leave the machine. */
export function refusalByTls(login: {
  readonly tlsMode: ClientTlsMode
  readonly way: Way
  /** Null: not encrypted. */
  readonly tls: ClientTlsFacts | null
  readonly address: string
  readonly startup: Pick<ClientStartup, 'user' | 'database'>
}): PgError | null {
  const { tlsMode, way, tls, address } = login
  if (way === 'unix') return null
  switch (tlsMode) {
    case 'disable':
    case 'allow':
    case 'prefer':
      return null
    case 'require':
    case 'verify-ca':
    case 'verify-full':
  }
  const { user, database } = login.startup
  if (tls === null) return pgError('tlsRequired', [address, user, database])
  if (tlsMode === 'require' || tls.certificate !== null) return null
  const detail = tls.distrust === null ? 'None was shown.' : `Not trusted: ${tls.distrust}.`
  return pgError('clientCertificateRequired', [], { detail })
}
