// Places in a stream of messages, at which the relay breaks a connection off.

/** A place that is still to come. Sees one direction's chunks in order. */
export type Mark = {
  /** It is before the first byte. */
  readonly atStart: boolean
  /** Bytes of `chunk` that lie before it; null: all of them, and it is not reached. */
  readonly take: (chunk: Buffer) => number | null
}

/** After so many bytes. */
export function byteMark(bytes: number): Mark {
  let left = bytes
  const take = (chunk: Buffer): number | null => {
    if (chunk.length >= left) return left
    left -= chunk.length
    return null
  }
  return { atStart: bytes === 0, take }
}

/** After so many whole messages; the stream is between two messages now. */
export function messageMark(messages: number): Mark {
  const header: number[] = []
  let bodyLeft = 0
  let ended = 0
  const take = (chunk: Buffer): number | null => {
    let at = 0
    while (ended < messages) {
      if (at === chunk.length) return null
      if (header.length < headerBytes) {
        header.push(chunk.readUInt8(at))
        at += 1
        if (header.length < headerBytes) continue
        bodyLeft = Buffer.from(header).readInt32BE(1) - 4
      }
      const step = Math.min(bodyLeft, chunk.length - at)
      at += step
      bodyLeft -= step
      if (bodyLeft > 0) return null
      ended += 1
      header.length = 0
    }
    return at
  }
  return { atStart: messages === 0, take }
}

/** Messages of a recorded stream that begins with one. */
export function messagesIn(bytes: Buffer): number {
  let count = 0
  for (let at = 0; at + headerBytes <= bytes.length; at += 1 + bytes.readInt32BE(at + 1)) count += 1
  return count
}

const headerBytes = 5

/** Process number of the server, from the beginning of what it has said: its BackendKeyData. 0: not there yet. */
export function processIdIn(said: Buffer): number {
  for (let at = 0; at + headerBytes + 4 <= said.length; at += 1 + said.readInt32BE(at + 1)) {
    if (said.readUInt8(at) === 'K'.charCodeAt(0)) return said.readInt32BE(at + headerBytes)
  }
  return 0
}
