// A fleet of one process that is not quite alone: while an upgrade is under way there is another generation.
import { OneProcess } from '../../proxy/fleet.ts'

export class LocalFleet extends OneProcess {
  readonly #elsewhere: (pid: number, secret: string) => Promise<void>

  /** `elsewhere`: has another generation of the proxy cancel; `secret` in hexadecimal digits. */
  constructor(elsewhere: (pid: number, secret: string) => Promise<void>) {
    super()
    this.#elsewhere = elsewhere
  }

  override cancel(pid: number, secret: Uint8Array): Promise<void> {
    return this.#elsewhere(pid, Buffer.from(secret).toString('hex'))
  }
}
