// Plays conversations: to their end, or up to a byte in the middle of one.
import { errorFields } from '../support/clients.ts'
import { frontendMessage } from '../support/frontend-bytes.ts'
import type { RawConnection, ServerMessage } from '../support/raw-connection.ts'
import { readiesOf, type Turn } from './conversation.ts'

/** What a client was told in one conversation. */
export type Told = {
  /** Type letters of all messages but notices and ParameterStatus. */
  readonly codes: string
  /** SQLSTATE of the first error; null when there was none. */
  readonly sqlstate: string | null
  readonly message: string
  /** Transaction status of the last ReadyForQuery. */
  readonly status: string
  /** All that was expected came without an error. */
  readonly complete: boolean
  /** Tags of CommandComplete, in order. */
  readonly tags: readonly string[]
  /** `closed`: by the other side; `silent`: nothing came any more. */
  readonly end: 'ready' | 'closed' | 'silent'
  /** The last message is not whole. */
  readonly inRow: boolean
}

/** Where a client stops: so many whole messages, and so many bytes of the next. */
export type Stop = { readonly messages: number; readonly bytes: number }

// Above what any statement of the suite takes on a busy machine.
const answerTimeoutMs = 20_000

/** Every place at which a conversation can be broken off: between messages, in the header, in the body of each. */
export function stopsOf(messages: readonly Buffer[]): readonly Stop[] {
  const stops = messages.flatMap((message, at) => {
    const inside = [0, 3, 5 + Math.floor((message.length - 5) / 2)]
    const within = new Set(inside.filter((bytes) => bytes < message.length))
    return [...within].map((bytes) => ({ messages: at, bytes }))
  })
  return [...stops, { messages: messages.length, bytes: 0 }]
}

/** The same for bytes that were recorded: counts from the first. */
export function offsetsOf(bytes: Buffer): readonly number[] {
  const offsets: number[] = []
  let at = 0
  while (at + 5 <= bytes.length) {
    const length = 1 + bytes.readInt32BE(at + 1)
    offsets.push(at, at + 3, at + 5 + Math.floor((length - 5) / 2))
    at += length
  }
  return [...new Set([...offsets, bytes.length])]
}

/** Plays everything; after an error it sees to it that the conversation ends in ReadyForQuery, as drivers do. */
export async function play(connection: RawConnection, turns: readonly Turn[]): Promise<Told> {
  const messages: ServerMessage[] = []
  let readies = 0
  let end: Told['end'] = 'ready'
  const told = (complete: boolean) =>
    toldOf(messages, { end, complete, inRow: connection.unfinishedBytes > 0 })
  const failed = () => messages.some(({ code }) => code === 'E')
  const take = async (): Promise<ServerMessage | null> => {
    const arrival = await connection.next(answerTimeoutMs)
    if (arrival === 'closed' || arrival === 'timeout') {
      end = arrival === 'closed' ? 'closed' : 'silent'
      return null
    }
    messages.push(arrival)
    if (arrival.code === 'Z') readies += 1
    return arrival
  }
  let owed = 0
  for (const turn of turns) {
    connection.send(Buffer.concat(turn.messages))
    owed += readiesOf([turn])
    if (turn.until === null) continue
    let isExtended = false
    for (;;) {
      const message = await take()
      if (message === null) return told(false)
      if (turn.until === 'G' && message.code === 'G') break
      if (turn.until === 'G' && message.code === 'E') {
        isExtended = turn.messages.length > 1
        if (isExtended) connection.send(frontendMessage('S'))
        owed = readies + 1
      }
      if (message.code === 'Z' && readies >= owed) break
    }
    if (failed()) return told(false)
  }
  return told(true)
}

/** Sends the beginning up to `stop`; with `waits`, the answers of whole turns are taken first. */
export async function playUntil(
  connection: RawConnection,
  turns: readonly Turn[],
  { stop, waits }: { readonly stop: Stop; readonly waits: boolean },
): Promise<Told | null> {
  let before = 0
  let told: Told | null = null
  for (const turn of turns) {
    const left = stop.messages - before
    if (left < turn.messages.length || !waits) {
      connection.send(
        Buffer.concat([
          ...turn.messages.slice(0, Math.max(0, left)),
          ...(left >= 0 ? [turn.messages[left]?.subarray(0, stop.bytes) ?? Buffer.alloc(0)] : []),
        ]),
      )
    } else {
      told = await play(connection, [turn])
    }
    before += turn.messages.length
  }
  return told
}

type Ending = Pick<Told, 'end' | 'complete' | 'inRow'>

function toldOf(messages: readonly ServerMessage[], { end, complete, inRow }: Ending): Told {
  const heard = messages.filter(({ code }) => code !== 'N' && code !== 'S')
  const { C: sqlstate = null, M: message = '' } = errorFields(messages)
  const status = heard.findLast(({ code }) => code === 'Z')?.bytes.toString('latin1', 5) ?? ''
  const tags = heard
    .filter(({ code }) => code === 'C')
    .map(({ bytes }) => bytes.toString('latin1', 5, bytes.length - 1))
  const codes = heard.map(({ code }) => code).join('')
  const whole = complete && end === 'ready'
  return { codes, sqlstate, message, status, complete: whole, tags, end, inRow }
}
