// Logs a raw connection in: startup packet, then trust, cleartext, md5 or SCRAM-SHA-256 as the
// server asks. Written apart from wire/scram.ts, so that the two check each other (RFC 5802, RFC
// 7677).
import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { saslInitialBytes, saslResponseBytes, startupBytes, textBytes } from './frontend-bytes.ts'
import type { Arrival, Endpoint, RawConnection } from './raw-connection.ts'

/** What a startup packet says beyond user and database. */
export type StartupWish = {
  readonly minor: number
  readonly parameters: readonly (readonly [string, string])[]
}

/**
 * Sends the startup packet and answers for the password; gives all but the authentication's
 * middle.
 */
export type Login = (connection: RawConnection, wish: StartupWish) => Promise<readonly Arrival[]>

/** Longest time that a login may take, in milliseconds. */
const loginTimeoutMs = 10_000

/** A login for `endpoint` that computes each salted password once. */
export function loginTo(endpoint: Endpoint): Login {
  const saltedPasswords = new Map<string, Buffer>()
  return async (connection, wish) => {
    const own = new Map([
      ['user', endpoint.user],
      ['database', endpoint.database],
      ...wish.parameters,
    ])
    connection.send(startupBytes(wish.minor, [...own]))
    const answer = passwordAnswers(connection, endpoint, saltedPasswords)
    const arrivals: Arrival[] = []
    for (;;) {
      const arrival = await connection.next(loginTimeoutMs)
      if (arrival !== 'closed' && arrival !== 'timeout') {
        if (arrival.code === 'R' && arrival.bytes.readInt32BE(5) !== 0) {
          answer(arrival.bytes.readInt32BE(5), arrival.bytes.subarray(9))
          continue
        }
        arrivals.push(arrival)
        if (arrival.code !== 'Z') continue
        return arrivals
      }
      return [...arrivals, arrival]
    }
  }
}

function passwordAnswers(
  connection: RawConnection,
  endpoint: Endpoint,
  saltedPasswords: Map<string, Buffer>,
): (method: number, body: Buffer) => void {
  const nonce = randomBytes(18).toString('base64')
  const clientFirst = `n=,r=${nonce}`
  return (method, body) => {
    if (method === 3) connection.send(textBytes('p', endpoint.password))
    if (method === 5) connection.send(textBytes('p', md5Answer(endpoint, body)))
    if (method === 10) connection.send(saslInitialBytes('SCRAM-SHA-256', `n,,${clientFirst}`))
    if (method === 11) {
      const serverFirst = body.toString()
      const salted = saltedPassword(endpoint.password, serverFirst, saltedPasswords)
      connection.send(saslResponseBytes(clientFinal(clientFirst, serverFirst, salted)))
    }
  }
}

function md5Answer(endpoint: Endpoint, salt: Buffer): string {
  const inner = createHash('md5').update(endpoint.password).update(endpoint.user).digest('hex')
  return `md5${createHash('md5').update(inner).update(salt).digest('hex')}`
}

function attribute(message: string, name: string): string {
  const found = message.split(',').find((part) => part.startsWith(`${name}=`))
  return found === undefined ? '' : found.slice(2)
}

function saltedPassword(password: string, serverFirst: string, known: Map<string, Buffer>): Buffer {
  const key = `${attribute(serverFirst, 's')} ${attribute(serverFirst, 'i')}`
  const salt = Buffer.from(attribute(serverFirst, 's'), 'base64')
  const iterations = Number(attribute(serverFirst, 'i'))
  const salted = known.get(key) ?? pbkdf2Sync(password, salt, iterations, 32, 'sha256')
  known.set(key, salted)
  return salted
}

function clientFinal(clientFirst: string, serverFirst: string, salted: Buffer): string {
  const withoutProof = `c=biws,r=${attribute(serverFirst, 'r')}`
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const storedKey = createHash('sha256').update(clientKey).digest()
  const signed = `${clientFirst},${serverFirst},${withoutProof}`
  const signature = createHmac('sha256', storedKey).update(signed).digest()
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ signature.readUInt8(index)))
  return `${withoutProof},p=${proof.toString('base64')}`
}
