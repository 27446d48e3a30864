// Damages conversations: what a broken, confused or hostile client could send. Pure, seeded.
import { cancelBytes, frontendMessage, saslInitialBytes, startupBytes } from './frontend-bytes.ts'
import type { Random } from './random.ts'

type Mutation = (random: Random, messages: Buffer[], seeds: Seeds) => void

/** Conversations to start from, each a list of whole messages. */
export type Seeds = readonly [readonly Buffer[], ...(readonly Buffer[])[]]

const mutationsMax = 5
const messagesMax = 24

/** A stretch of a seed with one to five injuries. */
export function mutatedMessages(random: Random, seeds: Seeds): Buffer[] {
  const seed = random.pick(seeds)
  const from = random.below(seed.length)
  const messages = seed.slice(from, from + 1 + random.below(messagesMax)).map((m) => Buffer.from(m))
  for (let left = 1 + random.below(mutationsMax); left > 0; left -= 1) {
    random.pick(mutations)(random, messages, seeds)
  }
  return messages
}

/** What comes instead of, or around, a startup packet. */
export function mutatedStartup(random: Random, user: string, database: string): Buffer[] {
  const packet = startupBytes(random.pick([0, 2, 0, 9, 65_535]), [
    ['user', user],
    ['database', database],
    ['options', random.bytes(random.below(40)).toString('latin1')],
  ])
  const messages = [random.pick(openers)(random), packet]
  if (random.oneIn(2)) messages.reverse()
  if (random.oneIn(2)) random.pick(byteMutations)(random, messages, [messages])
  return messages
}

/** What comes instead of an answer to the authentication request. */
export function mutatedPassword(random: Random): Buffer[] {
  const nonce = random.bytes(12).toString('base64')
  const initial = saslInitialBytes('SCRAM-SHA-256', `n,,n=,r=${nonce}`)
  const messages = random.pick([
    [initial],
    [initial, initial],
    [saslInitialBytes('SCRAM-SHA-256-PLUS', `p=tls-unique,,n=,r=${nonce}`)],
    [initial, frontendMessage('p', Buffer.from(`c=biws,r=${nonce},p=`))],
    [frontendMessage('p', random.bytes(random.below(64)))],
    [frontendMessage('Q', Buffer.from('SELECT 1\0'))],
  ])
  const own = messages.map((message) => Buffer.from(message))
  if (random.oneIn(2)) random.pick(byteMutations)(random, own, [own])
  return own
}

const openers: readonly [(random: Random) => Buffer, ...((random: Random) => Buffer)[]] = [
  () => Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]), // SSLRequest
  () => Buffer.from([0, 0, 0, 8, 4, 210, 22, 48]), // GSSENCRequest
  (random) => cancelBytes(random.bytes(4 + random.pick([4, 0, 32, 256, 300]))),
  (random) => random.bytes(random.below(64)),
  () => Buffer.from('GET / HTTP/1.1\r\nHost: proxy\r\n\r\n'),
  () => Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), // a TLS ClientHello
  (random) => lengthOnly(random.pick(lengths)),
]

const lengths = [
  0, 3, 4, 5, -1, -2_147_483_648, 2_147_483_647, 1_073_741_824, 10_001, 65_536,
] as const

function lengthOnly(length: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeInt32BE(length)
  return bytes
}

const frontendCodes = 'QPBDECSHXFdcfp' as const

/** Index of a message; 0 when there is none. */
function place(random: Random, messages: readonly Buffer[]): number {
  return random.below(Math.max(1, messages.length))
}

/** A message that is long enough to be damaged at `bytesMin`. */
function victim(random: Random, messages: readonly Buffer[], bytesMin: number): Buffer | undefined {
  const message = messages[place(random, messages)]
  return message !== undefined && message.length >= bytesMin ? message : undefined
}

const flipBits: Mutation = (random, messages) => {
  const message = victim(random, messages, 1)
  if (message === undefined) return
  for (let left = 1 + random.below(8); left > 0; left -= 1) {
    const at = random.below(message.length)
    message.writeUInt8(message.readUInt8(at) ^ (1 << random.below(8)), at)
  }
}

const truncate: Mutation = (random, messages) => {
  const at = place(random, messages)
  const message = messages[at]
  if (message !== undefined) messages[at] = message.subarray(0, random.below(message.length + 1))
}

const changeLength: Mutation = (random, messages) => {
  const message = victim(random, messages, 5)
  if (message === undefined) return
  const off = message.readInt32BE(1) + random.pick([-1, 1, -4, 4, 100])
  message.writeInt32BE(random.oneIn(2) ? random.pick(lengths) : off | 0, 1)
}

const changeInnerCount: Mutation = (random, messages) => {
  const message = victim(random, messages, 8)
  if (message === undefined) return
  message.writeInt16BE(
    random.pick([-1, 0, 1, 32_767, -32_768, 255]),
    5 + random.below(message.length - 6),
  )
}

const insertGarbage: Mutation = (random, messages) => {
  messages.splice(place(random, messages), 0, random.bytes(random.below(40)))
}

const byteMutations: readonly [Mutation, ...Mutation[]] = [
  flipBits,
  truncate,
  changeLength,
  changeInnerCount,
  insertGarbage,
]

const mutations: readonly [Mutation, ...Mutation[]] = [
  ...byteMutations,
  // Lost, doubled and swapped messages keep the framing and break the order.
  (random, messages) => void messages.splice(place(random, messages), 1),
  (random, messages) => {
    const at = place(random, messages)
    messages.splice(
      at,
      0,
      ...messages.slice(at, at + 1 + random.below(3)).map((m) => Buffer.from(m)),
    )
  },
  (random, messages) => {
    const [moved] = messages.splice(place(random, messages), 1)
    if (moved !== undefined) messages.splice(place(random, messages), 0, moved)
  },
  (random, messages, seeds) => {
    const other = random.pick(seeds)
    messages.push(
      ...other
        .slice(random.below(other.length))
        .slice(0, 6)
        .map((m) => Buffer.from(m)),
    )
  },
  (random, messages) => {
    const message = victim(random, messages, 1)
    message?.writeUInt8(frontendCodes.charCodeAt(random.below(frontendCodes.length)), 0)
  },
  (random, messages) => {
    const code = frontendCodes.charAt(random.below(frontendCodes.length))
    const body = random.bytes(random.below(30))
    messages.splice(place(random, messages), 0, frontendMessage(code, body))
  },
]
