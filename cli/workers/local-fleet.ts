// A fleet of one process that is not quite alone: while an upgrade is under way there is another generation, and the next
// one goes on with the orders that are in force.
import { OneProcess } from '../../proxy/fleet.ts'
import { afterFailure, afterOrder, isOfDatabases, type Order } from './standing-orders.ts'

/** Other generations. */
type Others = {
  /** Has them cancel; `secret` in hexadecimal digits. */
  readonly cancel: (pid: number, secret: string) => Promise<void>
  /** Has those before this one carry an order out. */
  readonly formerly: (order: Order) => Promise<void>
}

export class LocalFleet extends OneProcess {
  readonly #others: Others
  #standing: readonly Order[] = []

  constructor(others: Others) {
    super()
    this.#others = others
  }

  /** Orders in force. */
  get standing(): readonly Order[] {
    return this.#standing
  }

  override async everywhere(name: string, args: readonly string[]): Promise<readonly string[]> {
    const before = this.#standing
    const order = { name, args }
    this.#standing = afterOrder(before, order)
    try {
      const former = isOfDatabases(order) ? this.#others.formerly(order) : undefined
      const said = await super.everywhere(name, args)
      await former
      return said
    } catch (error) {
      this.#standing = afterFailure(this.#standing, before, order)
      throw error
    }
  }

  override cancel(pid: number, secret: Uint8Array): Promise<void> {
    return this.#others.cancel(pid, Buffer.from(secret).toString('hex'))
  }
}
