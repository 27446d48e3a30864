// A place to compare in: a sharded stack with the shop's tables, a pair of clients, and the same
// rows at every start.
import { vnodeOfInt } from '../../router/key-hash.ts'
import type { TestServers } from '../support/servers.ts'
import { startStack, type Stack } from '../support/stack.ts'
import { Contents } from './contents.ts'
import { Pair } from './pair.ts'
import { seedSql, shopSchema, shopTables } from './shop.ts'

/** log2 of the stack's number of vnodes. */
const vnodeBits = 12

export type Arena = {
  readonly stack: Stack
  readonly pair: Pair
  readonly contents: Contents
  /** Brings the seed rows back where the last program changed any. */
  reset(): Promise<void>
  close(): Promise<void>
}

/** Three shards and an oracle with the shop's tables and rows. */
export async function openArena(servers: TestServers): Promise<Arena> {
  const stack = await startStack(servers, { shards: 3, setupSql: shopSchema })
  const contents = await Contents.open(stack, shopTables)
  const pair = await Pair.open(stack)
  const ownerOf = (key: string) => contents.ownerOf(vnodeOfInt(BigInt(key), vnodeBits))
  const fill = () => contents.everywhere((shard) => seedSql(shard, ownerOf))
  await fill()
  const pristine = await contents.oracleText()
  return {
    stack,
    pair,
    contents,
    reset: async () => {
      await pair.settle()
      const faults = await contents.faults()
      if (faults.length > 0 || (await contents.oracleText()) !== pristine) await fill()
    },
    close: async () => {
      pair.close()
      await contents.close()
      await stack.close()
    },
  }
}
