// Runs a program's steps one after the other on both sides, Ringfence and one plain PostgreSQL, and demands the
// same observations. One test per step, on every PostgreSQL at hand, in each layout.
import { setTimeout } from 'node:timers/promises'
import { afterAll, assert, beforeAll, describe, expect, inject, it } from 'vitest'
import { until } from '../support/clients.ts'
import { startStack, type Stack, type StackOptions } from '../support/stack.ts'
import type { Client, Layout } from './client-run.ts'
import { tenantIds } from './fixtures.ts'
import type { Json } from './observed.ts'
import { contentOf, type ShardContent } from './placement.ts'
import { stepMeanings, type Program, type Step } from './program.ts'

type Running<Session> = {
  readonly stack: Stack
  readonly direct: Session
  readonly proxied: Session
  end(): Promise<void>
}

const everyLayout: readonly Layout[] = ['one shard', 'three shards']

/** Most connections of a client. Over one shard they are far more than the servers that they share. */
const connectionsOf: Readonly<Record<Layout, number>> = { 'one shard': 20, 'three shards': 3 }

/** The stack of a layout. */
export const stackOf: Readonly<Record<Layout, StackOptions>> = {
  'one shard': { shards: 1, sharded: false, pool: { size: 4 } },
  'three shards': { shards: 3, sharded: true },
}

/** Declares the tests of one client. */
export function suite<Session>(
  client: Client,
  program: Program<Session>,
  inLayouts: readonly Layout[] = everyLayout,
): void {
  const cases = inLayouts.flatMap((layout) => inject('servers').map((at) => ({ layout, at })))
  describe.each(cases)(
    `${client.client} over $layout, PostgreSQL $at.version`,
    ({ layout, at }) => {
      let running: Running<Session> | undefined
      const about = { ...client, layout, postgres: at.version }
      beforeAll(async () => {
        running = await start(program, layout, await startStack(at, stackOf[layout]))
      })
      afterAll(() => running?.end())

      it.for(stepsOf(program))('%s', async ([did, step], { task }) => {
        task.meta.clientRun = { ...about, did }
        assert(running !== undefined, 'both sides are open')
        await compare(running.direct, running.proxied, step)
      })

      const again = 'a second pool of connections prepares the same statements beside the first'
      it(again, async ({ task }) => {
        task.meta.clientRun = { ...about, did: again }
        assert(running !== undefined, 'both sides are open')
        const other = await open(program, layout, running.stack)
        await compare(other.direct, other.proxied, program.steps.prepared)
        await compare(running.direct, running.proxied, program.steps.prepared)
        await Promise.all([program.close(other.direct), program.close(other.proxied)])
      })

      it('only pinned connections keep a server, and rows lie where they belong', async () => {
        assert(running !== undefined, 'both sides are open')
        const { stack } = running
        const pinned = program.pinned ?? 0
        await until('servers are idle', () => stack.poolStats().leased <= pinned)
        if (layout === 'one shard') return
        expectPlacement(await Promise.all(stack.shardUrls.map(contentOf)))
      })
    },
  )
}

function stepsOf<Session>(
  program: Program<Session>,
): readonly (readonly [string, Step<Session>])[] {
  const common = stepMeanings.map(([name, did]) => [did, program.steps[name]] as const)
  return [...common, ...Object.entries(program.more ?? {})]
}

async function compare<S>(direct: S, proxied: S, step: Step<S>): Promise<void> {
  const expected = await on('PostgreSQL', step(direct))
  const actual = await on('Ringfence', step(proxied))
  expect(actual).toEqual(expected)
  expect(isEmpty(expected), 'a step that observes nothing proves nothing').toBe(false)
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

async function open<S>(program: Program<S>, layout: Layout, stack: Stack) {
  const direct = await program.open(stack.direct, connectionsOf[layout])
  const proxied = await program.open(stack.proxy, connectionsOf[layout])
  return { direct, proxied }
}

async function start<S>(program: Program<S>, layout: Layout, stack: Stack): Promise<Running<S>> {
  const { direct, proxied } = await open(program, layout, stack)
  return {
    stack,
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
