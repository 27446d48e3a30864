// Clients that must not notice what others do to the proxy: each asks for tokens of its own, over
// and over, and complains when an answer is late, wrong, or somebody else's.
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  textBytes,
} from './frontend-bytes.ts'
import { type Endpoint, RawConnection } from './raw-connection.ts'
import { loginTo } from './raw-login.ts'

/** A token as it stands in answers; the fuzz test looks for whole ones of other clients. */
export const tokenPattern = /(?:fuzz|canary)-\d+-z/g

const answerTimeoutMs = 10_000
const pauseMs = 5
const empty = Buffer.alloc(0)

export type CanaryOptions = {
  /** Apart from the other canaries' numbers by at least a million. */
  readonly firstToken: number
  readonly stopped: () => boolean
  readonly complain: (what: string) => void
}

/** Sings until `stopped`; gives the number of right answers. */
export async function runCanary(endpoint: Endpoint, options: CanaryOptions): Promise<number> {
  const connection = await RawConnection.open(endpoint)
  let token = options.firstToken
  try {
    await loginTo(endpoint)(connection, { minor: 0, parameters: [] })
    while (!options.stopped()) {
      token += 1
      const wrong = await ask(connection, `canary-${token}-z`, token % 2 === 0)
      if (wrong !== undefined) {
        options.complain(`canary: ${wrong}`)
        break
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
    connection.send(frontendMessage('X'))
  } finally {
    connection.destroy()
  }
  return token - options.firstToken
}

/** Undefined when the answer is one row with `token` and a ReadyForQuery in time. */
async function ask(
  connection: RawConnection,
  token: string,
  extended: boolean,
): Promise<string | undefined> {
  connection.send(extended ? extendedQuestion(token) : textBytes('Q', `SELECT '${token}' AS token`))
  const values: string[] = []
  const codes: string[] = []
  for (;;) {
    const arrival = await connection.next(answerTimeoutMs)
    if (arrival === 'closed' || arrival === 'timeout') return `${arrival} instead of ${token}`
    codes.push(arrival.code)
    if (arrival.code === 'D') values.push(arrival.bytes.toString('latin1', 11))
    if (arrival.code === 'E') return `${arrival.bytes.toString('latin1', 5)} instead of ${token}`
    if (arrival.code === 'Z') break
  }
  const expected = extended ? '12DCZ' : 'TDCZ'
  const right = values.length === 1 && values[0] === token && codes.join('') === expected
  return right ? undefined : `${codes.join('')} with ${values.join(', ')} instead of ${token}`
}

function extendedQuestion(token: string): Buffer {
  return Buffer.concat([
    parseBytes(empty, Buffer.from('SELECT $1::text'), []),
    bindBytes(empty, empty, [{ format: 0, value: Buffer.from(token) }], []),
    executeBytes(empty, 0),
    frontendMessage('S'),
  ])
}
