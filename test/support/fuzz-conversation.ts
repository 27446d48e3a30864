// One conversation of the fuzz test: connect, perhaps log in, send damaged bytes, leave one way or
// another.
import { tokenPattern } from './canary.ts'
import { startupBytes, textBytes } from './frontend-bytes.ts'
import { mutatedMessages, mutatedPassword, mutatedStartup, type Seeds } from './mutations.ts'
import type { Random } from './random.ts'
import { type Endpoint, RawConnection } from './raw-connection.ts'
import { type Login, loginTo } from './raw-login.ts'

/** What all conversations of a run share. */
export type FuzzRun = {
  readonly endpoint: Endpoint
  readonly login: Login
  readonly seeds: Seeds
  readonly complain: (index: number, what: string) => void
}

/** A run against `endpoint`. */
export function createFuzzRun(
  endpoint: Endpoint,
  seeds: Seeds,
  complain: FuzzRun['complain'],
): FuzzRun {
  return { endpoint, login: loginTo(endpoint), seeds, complain }
}

/** After the client has closed, the proxy has this long to close as well. */
const closeTimeoutMs = 20_000

/** Plays conversation `index`; everything about it follows from `random`. */
export async function fuzzConversation(run: FuzzRun, index: number, random: Random): Promise<void> {
  const connection = await RawConnection.open(run.endpoint)
  const ownToken = `fuzz-${index}-z`
  connection.onBytes = (chunk) => {
    const text = chunk.toString('latin1')
    for (const [token] of text.matchAll(tokenPattern)) {
      if (token !== ownToken) run.complain(index, `got ${token}, an answer to another client`)
    }
    if (text.includes('internal error of the proxy')) run.complain(index, internalError(text))
  }
  try {
    const bytes = Buffer.concat(await openingOf(run, connection, ownToken, random))
    if (random.oneIn(8)) await connection.sendInChunks(bytes.subarray(0, 600), 1 + random.below(40))
    else connection.send(bytes)
    await leave(run, index, connection, random)
  } finally {
    connection.destroy()
  }
}

function internalError(text: string): string {
  const at = text.indexOf('internal error of the proxy')
  return text.slice(at, at + 200)
}

/** Three in four conversations are damaged after a login, the others before or in it. */
async function openingOf(
  run: FuzzRun,
  connection: RawConnection,
  ownToken: string,
  random: Random,
): Promise<Buffer[]> {
  const { user, database } = run.endpoint
  const phase = random.below(8)
  if (phase === 0)
    return [...mutatedStartup(random, user, database), ...mutatedMessages(random, run.seeds)]
  if (phase === 1) {
    const startup = startupBytes(0, [
      ['user', user],
      ['database', database],
    ])
    return [startup, ...mutatedPassword(random)]
  }
  await run.login(connection, { minor: random.pick([0, 2]), parameters: [] })
  return [textBytes('Q', `SELECT '${ownToken}'`), ...mutatedMessages(random, run.seeds)]
}

async function leave(
  run: FuzzRun,
  index: number,
  connection: RawConnection,
  random: Random,
): Promise<void> {
  // Gone at once, closed at once, or first reading what comes until there is a moment of silence.
  const way = random.pick(['vanish', 'close', 'read', 'read'])
  if (way === 'vanish') return
  if (way === 'read') await listen(run, index, connection, 3 + random.below(6))
  connection.finish()
  const end = await listen(run, index, connection, closeTimeoutMs)
  if (end === 'timeout')
    run.complain(index, `still open ${closeTimeoutMs} ms after the client left`)
}

/** Reads until the connection ends or is silent for `silenceMs`. */
async function listen(
  run: FuzzRun,
  index: number,
  connection: RawConnection,
  silenceMs: number,
): Promise<'closed' | 'timeout'> {
  for (;;) {
    const arrival = await connection.next(silenceMs)
    if (arrival === 'closed' || arrival === 'timeout') return arrival
    if (arrival.code === '!') run.complain(index, 'got bytes that are no message')
  }
}
