// The same statement on a sharded database and on one PostgreSQL that holds all rows. Runs both in
// step: what the proxy refuses the oracle does not run; in a transaction it is made to fail there
// as well.
import type { Stack } from '../support/stack.ts'
import { difference, isRefusal, Side, type Reply, type Statement } from './side.ts'

/** How a statement went on both sides. */
export type Verdict =
  | { readonly kind: 'same'; readonly reply: Reply }
  | { readonly kind: 'refused'; readonly message: string; readonly reply: Reply }
  | { readonly kind: 'different'; readonly what: string }

/** What the proxy may find first where the server finds another fault of the same statement. */
const eitherError: ReadonlySet<string> = new Set([
  '23502',
  '22P02',
  '22003',
  '42P01',
  '22P04',
  '25006',
])

/** One client on each side. */
export class Pair {
  readonly #stack: Stack
  #sharded: Side
  #oracle: Side

  private constructor(stack: Stack, sharded: Side, oracle: Side) {
    this.#stack = stack
    this.#sharded = sharded
    this.#oracle = oracle
  }

  static async open(stack: Stack): Promise<Pair> {
    return new Pair(stack, await Side.open(stack.proxy), await Side.open(stack.direct))
  }

  close(): void {
    this.#sharded.close()
    this.#oracle.close()
  }

  /** Runs `statement` on both sides and compares. */
  async run(statement: Statement): Promise<Verdict> {
    const reply = await this.#sharded.run(statement)
    if (isRefusal(reply)) {
      const mirrored = reply.status === 'E' ? await this.#failOracle() : 'I'
      if (mirrored !== reply.status) {
        return { kind: 'different', what: `refused with status ${reply.status}, not ${mirrored}` }
      }
      return { kind: 'refused', message: reply.error?.message ?? '', reply }
    }
    const expected = await this.#oracle.run(statement)
    const what = difference(reply, expected, statement.ordered === true)
    if (what === null || bothFail(reply, expected)) return { kind: 'same', reply }
    return { kind: 'different', what }
  }

  /** Ends what a program left open, on both sides; connections that hang are given up. */
  async settle(): Promise<void> {
    if (this.#sharded.broken || this.#oracle.broken) {
      this.close()
      this.#sharded = await Side.open(this.#stack.proxy)
      this.#oracle = await Side.open(this.#stack.direct)
    }
    for (const side of [this.#sharded, this.#oracle]) {
      await side.sql('ROLLBACK')
      await side.sql('RESET ALL')
    }
  }

  async #failOracle(): Promise<string> {
    const { status } = await this.#oracle.sql('SELECT 1 / 0')
    return status
  }
}

function bothFail(sharded: Reply, oracle: Reply): boolean {
  if (sharded.error === null || oracle.error === null) return false
  return eitherError.has(sharded.error.sqlstate) && sharded.status === oracle.status
}
