// Certificates of the tests; certificates/make.sh has made them.
import { readFileSync } from 'node:fs'

/** Made for this: `elsewhere` has another host name, strangers have another authority. */
type Name =
  | 'server'
  | 'renewed-server'
  | 'elsewhere'
  | 'stranger-server'
  | 'client-anna'
  | 'client-mapped'
  | 'client-alternative'
  | 'stranger-anna'

/** Path of a file in test/support/certificates. */
export function certificateFile(file: `${Name}.crt` | `${Name}.key` | 'ca.crt' | 'other-ca.crt') {
  return new URL(`certificates/${file}`, import.meta.url).pathname
}

/** PEM of a certificate and its key. */
export function certificate(name: Name): { readonly cert: string; readonly key: string } {
  return {
    cert: readFileSync(certificateFile(`${name}.crt`), 'utf8'),
    key: readFileSync(certificateFile(`${name}.key`), 'utf8'),
  }
}
