// Channel binding "tls-server-end-point" (RFC 5929, section 4.1): what ties a SCRAM exchange to the certificate of
// the TLS connection that it runs in. Both sides compute it from the certificate that the server has shown.
import { createHash } from 'node:crypto'

/**
 * Hash of the certificate with the hash of its signature; md5 and SHA-1 are replaced by SHA-256. Null where the
 * signature has no hash of its own, as Ed25519 has none: then nothing can be bound (PostgreSQL refuses it, too).
 */
export function tlsServerEndPoint(certificateDer: Uint8Array): Buffer | null {
  const hash = signatureHash(certificateDer)
  return hash === undefined ? null : createHash(hash).update(certificateDer).digest()
}

type Element = { readonly tag: number; readonly body: Uint8Array; readonly end: number }

/** Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm AlgorithmIdentifier, signature } (RFC 5280). */
function signatureHash(der: Uint8Array): string | undefined {
  const certificate = elementAt(der, 0)
  const signed = certificate && elementAt(certificate.body, 0)
  const algorithm = signed && elementAt(certificate.body, signed.end)
  if (algorithm === undefined) return undefined
  const oid = elementAt(algorithm.body, 0)
  if (oid?.tag !== tagOid) return undefined
  const name = hex(oid.body)
  if (name !== rsaPss) return hashOfSignature.get(name)
  // RSASSA-PSS-params ::= SEQUENCE { [0] AlgorithmIdentifier DEFAULT sha1, … } (RFC 4055).
  const parameters = elementAt(algorithm.body, oid.end)
  const chosen = parameters && elementAt(parameters.body, 0)
  if (chosen?.tag !== tagChoice0) return 'sha256'
  const digest = elementAt(chosen.body, 0)
  const digestOid = digest && elementAt(digest.body, 0)
  return digestOid && hashOfDigest.get(hex(digestOid.body))
}

/** The DER element at `offset`; undefined when it does not lie within `bytes`. */
function elementAt(bytes: Uint8Array, offset: number): Element | undefined {
  const tag = bytes[offset]
  const first = bytes[offset + 1]
  if (tag === undefined || first === undefined) return undefined
  const lengthBytes = first < 0x80 ? 0 : first & 0x7f
  if (lengthBytes > 4) return undefined
  let length = lengthBytes === 0 ? first : 0
  for (let at = 0; at < lengthBytes; at += 1) length = length * 256 + (bytes[offset + 2 + at] ?? 0)
  const start = offset + 2 + lengthBytes
  const end = start + length
  return end > bytes.length ? undefined : { tag, body: bytes.subarray(start, end), end }
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')

const tagOid = 0x06
const tagChoice0 = 0xa0
/** 1.2.840.113549.1.1.10 */
const rsaPss = '2a864886f70d01010a'

/** Object identifiers of RFC 3279, 4055, 5758 and NIST's of SHA-3, as hex. */
const hashOfSignature: ReadonlyMap<string, string> = new Map([
  ['2a864886f70d010104', 'sha256'], // md5WithRSAEncryption
  ['2a864886f70d010105', 'sha256'], // sha1WithRSAEncryption
  ['2a864886f70d01010e', 'sha224'],
  ['2a864886f70d01010b', 'sha256'],
  ['2a864886f70d01010c', 'sha384'],
  ['2a864886f70d01010d', 'sha512'],
  ['2a8648ce3d0401', 'sha256'], // ecdsa-with-SHA1
  ['2a8648ce3d040301', 'sha224'],
  ['2a8648ce3d040302', 'sha256'],
  ['2a8648ce3d040303', 'sha384'],
  ['2a8648ce3d040304', 'sha512'],
  ['2a8648ce380403', 'sha256'], // dsa-with-sha1
  ['608648016503040301', 'sha224'], // dsa-with-sha224
  ['608648016503040302', 'sha256'], // dsa-with-sha256
])

const hashOfDigest: ReadonlyMap<string, string> = new Map([
  ['2a864886f70d0205', 'sha256'], // md5
  ['2b0e03021a', 'sha256'], // sha1
  ['608648016503040204', 'sha224'],
  ['608648016503040201', 'sha256'],
  ['608648016503040202', 'sha384'],
  ['608648016503040203', 'sha512'],
])
