// The terminal's alternate screen, as plain escape sequences. Whatever ends the program, the terminal is as it was before:
// disposing does it, and the process's own end does it for exits that pass everything else by.
import type { ReadStream, WriteStream } from 'node:tty'
import type { ScreenSize } from './screen.ts'

const enter = '\u001b[?1049h\u001b[?25l'
const leave = '\u001b[?25h\u001b[?1049l'
const home = '\u001b[H'
const clearToLineEnd = '\u001b[K'
const clearToScreenEnd = '\u001b[J'
/** q, Ctrl-C, Ctrl-D, Escape. */
const quitKeys: ReadonlySet<string> = new Set(['q', 'Q', '\u0003', '\u0004', '\u001b'])

/** States: on, until a quit key, a signal or dispose; then off for good. */
export class LiveScreen {
  readonly #output: WriteStream
  readonly #input: ReadStream
  readonly #quit = () => this.#stop()
  readonly #restore = () => this.#leave()
  readonly #heard = (typed: Buffer) => {
    if (Array.from(typed.toString()).some((key) => quitKeys.has(key))) this.#stop()
  }
  #on = true
  #ended = false
  #wake: () => void = () => undefined

  constructor(output: WriteStream, input: ReadStream) {
    this.#output = output
    this.#input = input
    process.on('SIGINT', this.#quit).on('SIGTERM', this.#quit).on('SIGHUP', this.#quit)
    process.on('exit', this.#restore)
    output.write(enter)
    if (input.isTTY) input.setRawMode(true).on('data', this.#heard).resume()
  }

  /** True once the user wants no more of it. */
  get ended(): boolean {
    return this.#ended
  }

  /** Over what was drawn before, without flicker. */
  draw(render: (size: ScreenSize) => string): void {
    if (!this.#on) return
    // A terminal that does not know its size says 0.
    const size = { columns: this.#output.columns || 80, rows: this.#output.rows || 24 }
    const text = render(size).trimEnd().replaceAll('\n', `${clearToLineEnd}\n`)
    this.#output.write(`${home}${text}${clearToLineEnd}${clearToScreenEnd}`)
  }

  /** Until the time is over, or the user wants no more. */
  pause(ms: number): Promise<void> {
    if (this.#ended) return Promise.resolve()
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#quit).off('SIGTERM', this.#quit).off('SIGHUP', this.#quit)
    process.off('exit', this.#restore)
    this.#input.off('data', this.#heard).pause()
    this.#stop()
    this.#leave()
  }

  #stop(): void {
    this.#ended = true
    this.#wake()
  }

  #leave(): void {
    if (!this.#on) return
    this.#on = false
    if (this.#input.isTTY) this.#input.setRawMode(false)
    this.#output.write(leave)
  }
}
