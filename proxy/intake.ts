// Frames from the client become commands: a simple query, a pipeline up to its Sync or Flush, COPY data. After a
// failure in a pipeline everything up to the next Sync is dropped here.
import { pgError } from '../core/errors.ts'
import { frontend } from '../wire/codes.ts'
import type { Frame, Framer } from '../wire/framer.ts'

/** What the client wants next. Frames are views until `own`. */
export type ClientCommand =
  /** Query or FunctionCall. */
  | { readonly kind: 'simple'; readonly frame: Frame }
  | { readonly kind: 'pipeline'; readonly frames: readonly Frame[]; readonly end: PipelineEnd }
  /** The Sync that ends a pipeline which has failed. */
  | { readonly kind: 'syncAfterFailure' }
  /** A message while a COPY is on. */
  | { readonly kind: 'copy'; readonly frame: Frame }
  | { readonly kind: 'terminate' }

export type PipelineEnd = 'sync' | 'flush'

// A pipeline longer than this is handed to the server before its Sync has come.
const pipelineBytesMax = 1024 * 1024

export class Intake {
  readonly #framer: Framer
  #frames: Frame[] = []
  #framesBytes = 0
  /** How many of them are copies of ours already. */
  #framesOwned = 0
  /** A Query, or data of a COPY, that waits until the pipeline before it, without Sync, has been run. */
  #held: Frame | null = null
  #skipping = false

  constructor(framer: Framer) {
    this.#framer = framer
  }

  get bufferedBytes(): number {
    return this.#framer.bufferedBytes
  }

  push(chunk: Uint8Array): void {
    this.#framer.push(chunk)
  }

  /** What is kept until more comes must survive the caller's buffer. */
  own(): void {
    this.#framer.own()
    if (this.#frames.length === this.#framesOwned) return
    for (const frame of ownFrames(this.#frames.splice(this.#framesOwned))) this.#frames.push(frame)
    this.#framesOwned = this.#frames.length
  }

  /** The pipeline has failed: nothing counts before the next Sync. */
  skipToSync(): void {
    this.#skipping = true
  }

  /** The next whole command; undefined until more bytes come. @throws PgError 08P01 */
  next(copying: boolean): ClientCommand | undefined {
    for (;;) {
      const frame = this.#held ?? this.#framer.next()
      this.#held = null
      if (frame === undefined) return undefined
      if (copying) return { kind: 'copy', frame }
      const command = this.#take(frame)
      if (command !== undefined) return command
    }
  }

  #take(frame: Frame): ClientCommand | undefined {
    const { code, bytes } = frame
    if (code === frontend.terminate) return { kind: 'terminate' }
    if (this.#skipping) {
      if (code !== frontend.sync) return undefined
      this.#skipping = false
      return { kind: 'syncAfterFailure' }
    }
    switch (code) {
      case frontend.query:
      case frontend.functionCall:
        if (this.#frames.length === 0) return { kind: 'simple', frame }
        return this.#before(frame)
      case frontend.parse:
      case frontend.bind:
      case frontend.describe:
      case frontend.execute:
      case frontend.close:
        this.#frames.push(frame)
        this.#framesBytes += bytes.length
        return this.#framesBytes > pipelineBytesMax ? this.#pipeline('flush') : undefined
      case frontend.flush:
        return this.#pipeline('flush')
      case frontend.sync:
        return this.#pipeline('sync')
      case frontend.copyData:
      case frontend.copyDone:
      case frontend.copyFail:
        // Of a COPY that the pipeline may begin; else left over from one that has failed, and PostgreSQL drops them too.
        return this.#frames.length === 0 ? undefined : this.#before(frame)
      default:
        throw pgError('protocolViolation', [`invalid frontend message type ${code}`])
    }
  }

  /** The pipeline so far, without Sync; `frame` comes behind it. */
  #before({ code, bytes }: Frame): ClientCommand {
    this.#held = { code, bytes: Uint8Array.from(bytes) }
    return this.#pipeline('flush')
  }

  #pipeline(end: PipelineEnd): ClientCommand {
    const frames = this.#frames
    this.#frames = []
    this.#framesBytes = 0
    this.#framesOwned = 0
    return { kind: 'pipeline', frames, end }
  }
}

/** Views of frames die with the turn: what waits is copied. */
export function ownFrames(frames: readonly Frame[]): readonly Frame[] {
  return frames.map(({ code, bytes }) => ({ code, bytes: new Uint8Array(bytes) }))
}
