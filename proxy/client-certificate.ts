// The names in a client's certificate, and whether they name a user: by themselves, or by a map like pg_ident.conf.
import type { X509Certificate } from 'node:crypto'

/** A certificate that a trusted authority has signed. */
export type ClientCertificate = {
  /** Subject's common name; null without one. */
  readonly commonName: string | null
  /** Subject as RFC 2253 writes it, as PostgreSQL's clientname=DN: `CN=anna,O=Ringfence`. */
  readonly distinguishedName: string
  /** DNS names and e-mail addresses among the subject's alternative names. */
  readonly alternativeNames: readonly string[]
}

/** One line of a user map. */
export type UserMapEntry = {
  /** Name of the map that it belongs to. */
  readonly map: string
  /** A name of the certificate, or a regular expression behind a slash. */
  readonly certificate: string
  /** User that it may log in as; `\1` stands for what the first parentheses have matched, `all` for any. */
  readonly user: string
}

/** What `certificate` says of its owner. */
export function describeCertificate(certificate: X509Certificate): ClientCertificate {
  // One attribute a line, the most significant first; RFC 2253 has it the other way round.
  const attributes = certificate.subject.split('\n').filter((line) => line !== '')
  const named = attributes
    .flatMap((line) => line.split(' + '))
    .find((each) => each.startsWith('CN='))
  return {
    commonName: named === undefined ? null : plainValue(named.slice('CN='.length)),
    distinguishedName: attributes.toReversed().join(',').replaceAll(' + ', '+'),
    alternativeNames: alternativeNamesOf(certificate.subjectAltName ?? ''),
  }
}

/**
 * Whether `certificate` lets its owner log in as `user`. Without a map one of its names is the user's; with one only
 * what the map says counts.
 */
export function namesUser(
  certificate: ClientCertificate,
  user: string,
  map: readonly UserMapEntry[] | null,
): boolean {
  const { commonName, distinguishedName, alternativeNames } = certificate
  const names = [...(commonName === null ? [] : [commonName]), ...alternativeNames]
  if (map === null) return names.includes(user)
  return map.some((entry) =>
    [...names, distinguishedName].some((name) => allows(entry, name, user)),
  )
}

/** As check_ident_usermap of PostgreSQL's hba.c. */
function allows(entry: UserMapEntry, name: string, user: string): boolean {
  const { certificate, user: mapped } = entry
  if (!certificate.startsWith('/')) return certificate === name && isMeant(mapped, user)
  const match = new RegExp(certificate.slice(1), 'u').exec(name)
  if (match === null) return false
  if (!mapped.includes('\\1')) return isMeant(mapped, user)
  return match[1] !== undefined && mapped.replaceAll('\\1', () => match[1] ?? '') === user
}

const isMeant = (mapped: string, user: string) => mapped === 'all' || mapped === user

/** A value without the escapes of RFC 2253; null where it has bytes that are no text, as a NUL would be. */
function plainValue(escaped: string): string | null {
  const plain = escaped.replaceAll(/\\([ #+,;<=>"\\])/g, '$1')
  return /\\[\dA-Fa-f]{2}/.test(escaped.replaceAll('\\\\', '')) ? null : plain
}

/** `DNS:a.example, email:b@example.org, IP Address:…`; names that need quoting are left out: they are nobody's. */
function alternativeNamesOf(text: string): readonly string[] {
  if (text.includes('"')) return []
  return text.split(', ').flatMap((part) => /^(?:DNS|email):(.+)$/.exec(part)?.[1] ?? [])
}
