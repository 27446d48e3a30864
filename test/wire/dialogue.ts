// A connection to a real server made of nothing but wire/ and a socket: login, simple queries, COPY.
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import * as backend from '../../wire/backend.ts'
import { backend as codes } from '../../wire/codes.ts'
import * as frontend from '../../wire/frontend.ts'
import { FrameScanner } from '../../wire/framer.ts'
import { ScramClient } from '../../wire/scram.ts'
import { writeStartup } from '../../wire/startup.ts'
import { textOf } from '../../wire/values.ts'
import { Writer } from '../../wire/writer.ts'

/** What a statement gave: text values, and the error's fields if there was one. */
export type Answer = {
  readonly rows: readonly (readonly (string | null)[])[]
  readonly error: ReadonlyMap<string, string> | undefined
}

/** What the server told during login. */
export type Greeting = {
  readonly parameters: ReadonlyMap<string, string>
  readonly secretBytes: number
  /** Minor version that the server settled for; undefined when it took what was asked for. */
  readonly negotiatedMinor: number | undefined
}

const frameBytesMax = 64 * 1024 * 1024

/** One connection, used by one caller at a time. */
export class Dialogue {
  readonly #socket: Socket
  readonly #frames: Uint8Array[] = []
  readonly #scanner: FrameScanner
  #failure: unknown
  #wake: (() => void) | undefined

  private constructor(socket: Socket) {
    this.#socket = socket
    const sink = {
      header: () => 'whole' as const,
      slice: () => undefined,
      frame: (_: number, bytes: Uint8Array) => {
        this.#frames.push(new Uint8Array(bytes))
      },
    }
    this.#scanner = new FrameScanner(sink, frameBytesMax)
    socket.on('data', (chunk: Buffer) => {
      this.#scanner.push(chunk)
      this.#wake?.()
    })
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new Error('the server closed the connection')))
  }

  /** Connects and logs in with protocol 3.`minor`. */
  static async open(
    url: string,
    minor: number,
  ): Promise<{ dialogue: Dialogue; greeting: Greeting }> {
    const { hostname, port, username, password, pathname } = new URL(url)
    const socket = connect({ host: hostname, port: Number(port) })
    const dialogue = new Dialogue(socket)
    const user = decodeURIComponent(username)
    const parameters = new Map([
      ['user', user],
      ['database', pathname.slice(1)],
      ['client_encoding', 'UTF8'],
    ])
    dialogue.#send((w) => writeStartup(w, { minor, parameters }))
    return { dialogue, greeting: await dialogue.#logIn(decodeURIComponent(password)) }
  }

  /** Runs a simple query. */
  async query(sql: string): Promise<Answer> {
    this.#send((w) => frontend.writeQuery(w, sql))
    return this.#answer(new Uint8Array())
  }

  /** Runs a COPY … FROM STDIN with this data. */
  async copyIn(sql: string, data: Uint8Array): Promise<Answer> {
    this.#send((w) => frontend.writeQuery(w, sql))
    return this.#answer(data)
  }

  close(): void {
    this.#send((w) => frontend.writeTerminate(w))
    this.#socket.end()
  }

  async #logIn(password: string): Promise<Greeting> {
    const client = new ScramClient(undefined, password, randomBytes(18).toString('base64'))
    const parameters = new Map<string, string>()
    let secretBytes = 0
    let negotiatedMinor: number | undefined
    for (;;) {
      const frame = await this.#next()
      if (frame[0] === codes.authentication) this.#authenticate(client, frame)
      else if (frame[0] === codes.negotiateProtocolVersion) {
        negotiatedMinor = backend.decodeNegotiateProtocolVersion(frame).newestMinor
      } else if (frame[0] === codes.parameterStatus) {
        const { name, value } = backend.decodeParameterStatus(frame)
        parameters.set(name, value)
      } else if (frame[0] === codes.backendKeyData) {
        secretBytes = backend.decodeBackendKeyData(frame).secret.length
      } else if (frame[0] === codes.errorResponse) {
        throw new Error(backend.decodeErrorFields(frame).get('M'))
      } else if (frame[0] === codes.readyForQuery) {
        return { parameters, secretBytes, negotiatedMinor }
      }
    }
  }

  #authenticate(client: ScramClient, frame: Uint8Array): void {
    const request = backend.decodeAuthentication(frame)
    if (request.kind === 'sasl') {
      this.#send((w) => frontend.writeSaslInitial(w, 'SCRAM-SHA-256', client.first()))
    } else if (request.kind === 'saslContinue') {
      const answer = client.continue(textOf(request.data))
      this.#send((w) => frontend.writeSaslResponse(w, answer))
    } else if (request.kind === 'saslFinal') {
      if (!client.verify(textOf(request.data))) throw new Error('the server is not genuine')
    } else if (request.kind !== 'ok') throw new Error(`unexpected ${request.kind}`)
  }

  async #answer(data: Uint8Array): Promise<Answer> {
    const rows: (string | null)[][] = []
    let error: Answer['error']
    for (;;) {
      const frame = await this.#next()
      if (frame[0] === codes.dataRow) {
        const values = backend.decodeDataRow(frame)
        rows.push(values.map((value) => (value === null ? null : textOf(value))))
      } else if (frame[0] === codes.errorResponse) error = backend.decodeErrorFields(frame)
      else if (frame[0] === codes.copyInResponse) {
        this.#send((w) => {
          frontend.writeCopyData(w, data)
          frontend.writeCopyDone(w)
        })
      } else if (frame[0] === codes.readyForQuery) return { rows, error }
    }
  }

  async #next(): Promise<Uint8Array> {
    for (;;) {
      const frame = this.#frames.shift()
      if (frame !== undefined) return frame
      if (this.#failure !== undefined) throw this.#failure
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #send(write: (w: Writer) => void): void {
    const w = new Writer()
    write(w)
    this.#socket.write(w.take())
  }

  #fail(failure: unknown): void {
    this.#failure ??= failure
    this.#wake?.()
  }
}
