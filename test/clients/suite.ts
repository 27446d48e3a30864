// Runs a program's steps one after the other on both sides, Ringfence over three shards and one plain
// PostgreSQL, and demands the same observations. One test per step, on every PostgreSQL at hand.
import { setTimeout } from 'node:timers/promises'
import { afterAll, assert, beforeAll, describe, expect, inject, it } from 'vitest'
import { startStack } from '../support/stack.ts'
import { tenantIds } from './fixtures.ts'
import type { Json } from './observed.ts'
import { contentOf, type ShardContent } from './placement.ts'
import { stepMeanings, type Program, type Step } from './program.ts'

type Stack = Awaited<ReturnType<typeof startStack>>
type Running<Session> = {
  readonly shardUrls: readonly string[]
  readonly direct: Session
  readonly proxied: Session
  end(): Promise<void>
}

/** Declares the tests of one client. */
export function suite<Session>(client: string, program: Program<Session>): void {
  const steps: [string, Step<Session>][] = [
    ...stepMeanings.map(([name, meaning]): [string, Step<Session>] => [
      meaning,
      program.steps[name],
    ]),
    ...Object.entries(program.more ?? {}),
  ]
  describe.each(inject('servers'))(`${client} on PostgreSQL $version`, (servers) => {
    let running: Running<Session> | undefined
    beforeAll(async () => {
      running = await start(program, await startStack(servers, { shards: 3, sharded: true }))
    })
    afterAll(() => running?.end())

    it.each(steps)('%s', async (_meaning, step) => {
      assert(running !== undefined, 'both sides are open')
      const expected = await on('PostgreSQL', step(running.direct))
      const actual = await on('Ringfence', step(running.proxied))
      expect(actual).toEqual(expected)
      expect(isEmpty(expected), 'a step that observes nothing proves nothing').toBe(false)
    })

    it('tenants lie on all shards, each on one; other rows where they belong', async () => {
      assert(running !== undefined, 'both sides are open')
      const contents = await Promise.all(running.shardUrls.map(contentOf))
      expectPlacement(contents)
    })
  })
}

function expectPlacement(contents: readonly ShardContent[]): void {
  const [home, ...others] = contents
  assert(home !== undefined, 'there is a home shard')
  const everyTenant = tenantIds.map(String).sort()
  const keysOn = (shard: ShardContent) => shard.tenants['tenants'] ?? []
  expect(contents.flatMap(keysOn).sort()).toEqual(everyTenant)
  for (const shard of contents) {
    expect(keysOn(shard).length).toBeGreaterThan(0)
    // Foreign keys hold within a shard: whatever belongs to a tenant is where the tenant is.
    for (const keys of Object.values(shard.tenants)) {
      expect(keysOn(shard)).toEqual(expect.arrayContaining([...keys]))
    }
  }
  expect(Object.values(home.homeRows).reduce((sum, rows) => sum + rows, 0)).toBeGreaterThan(0)
  for (const shard of others) {
    expect(shard.products).toEqual(home.products)
    expect(shard.definitions).toEqual(home.definitions)
    expect(Object.entries(shard.homeRows).filter(([, rows]) => rows > 0)).toEqual([])
  }
}

async function start<S>(program: Program<S>, stack: Stack): Promise<Running<S>> {
  const direct = await program.open(stack.direct)
  const proxied = await program.open(stack.proxy)
  return {
    shardUrls: stack.shardUrls,
    direct,
    proxied,
    async end() {
      await Promise.allSettled([program.close(direct), program.close(proxied)])
      await clientsGone(stack)
      await stack.close()
    },
  }
}

/** Drivers call their connections closed before the sockets are; none may be left for the proxy to end. */
async function clientsGone({ instance }: Stack): Promise<void> {
  for (let tries = 0; tries < 100 && instance.sessions.size > 0; tries += 1) await setTimeout(20)
  expect(instance.sessions.size, 'sessions of clients that have left').toBe(0)
}

/** Says on which side a step failed; the client's own error stays as the cause. */
async function on(side: string, step: Promise<Json>): Promise<Json> {
  try {
    return await step
  } catch (cause) {
    throw new Error(`${side}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause })
  }
}

const isEmpty = (seen: Json): boolean =>
  seen === null || seen === '' || (typeof seen === 'object' && Object.keys(seen).length === 0)
