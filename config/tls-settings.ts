// Settings of encrypted connections: to clients as a server (`tls.client`), to servers as a client (`tls.server`).
// Names and meanings are PgBouncer's client_tls_… and server_tls_…, the modes those of libpq's sslmode.
import { z } from 'zod'
import { choice, orNull, text } from './kinds.ts'
import { setting } from './setting.ts'

const modes = ['disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'] as const
/** As they stand in `sslmode` and in `tls.….mode`. */
export type TlsModeSetting = (typeof modes)[number]

/** Undefined for a word that is no mode. */
export function tlsModeOf(word: string): TlsModeSetting | undefined {
  return modes.find((mode) => mode === word)
}

function mode(standard: TlsModeSetting, meaning: string) {
  return setting(choice(...modes), { standard, applies: 'reload', meaning })
}

function file(meaning: string) {
  return setting(orNull(text('file')), { standard: null, applies: 'reload', meaning })
}

function protocols() {
  return setting(choice('secure', 'tlsv1.2', 'tlsv1.3'), {
    standard: 'secure',
    applies: 'reload',
    meaning: 'Versions of TLS that are spoken; `secure` is 1.2 and 1.3.',
  })
}

function ciphers() {
  return setting(orNull(text('list')), {
    standard: null,
    applies: 'reload',
    meaning: 'Ciphers as OpenSSL lists them, `:` between; null: the safe ones of Node.',
  })
}

/** The section `tls`. */
export const tlsSettings = z
  .strictObject({
    client: z
      .strictObject({
        mode: mode(
          'disable',
          'Whether clients may use TLS (`allow`, `prefer`), must (`require`), or must show a ' +
            'certificate of `ca` as well (`verify-ca`), which names their user (`verify-full`). ' +
            'Unix sockets have none.',
        ),
        cert: file('Certificate shown to clients with the chain that leads to its authority, PEM.'),
        key: file('Private key of that certificate, PEM.'),
        ca: file('Authorities whose client certificates are trusted, PEM.'),
        protocols: protocols(),
        ciphers: ciphers(),
      })
      .describe('Towards clients. A file is read again when it changes, and by a reload.')
      .prefault({}),
    server: z
      .strictObject({
        mode: mode(
          'prefer',
          'Whether servers are asked for TLS, as by libpq: `allow` when they insist, `prefer` ' +
            'when they have it, `require` always; `verify-ca` checks the certificate, ' +
            '`verify-full` its host name too. `sslmode` in a URL goes before it.',
        ),
        ca: file('Authorities that may sign the servers’ certificates, PEM.'),
        channel_binding: setting(choice('disable', 'prefer', 'require'), {
          standard: 'prefer',
          applies: 'reload',
          meaning:
            'Whether SCRAM logins to servers are tied to the certificate that the server has ' +
            'shown, as by libpq: `prefer` where servers offer it, `require` nowhere else.',
        }),
        cert: file('Certificate shown to servers that ask for one, PEM.'),
        key: file('Private key of that certificate, PEM.'),
        protocols: protocols(),
        ciphers: ciphers(),
      })
      .describe('Towards servers; also for the catalog’s own connections and the mover’s.')
      .prefault({}),
  })
  .describe('Encryption of connections: [TLS](tls.md).')
