// Runs a program's steps one after the other on both sides, Ringfence over three shards and one plain
// PostgreSQL, and demands the same observations. One test per step, on every PostgreSQL at hand.
import { afterAll, assert, beforeAll, describe, expect, inject, it } from 'vitest'
import { startStack } from '../support/stack.ts'
import type { Json } from './observed.ts'
import { stepMeanings, type Program, type Step, type Target } from './program.ts'

type Stack = { readonly proxy: Target; readonly direct: Target; close(): Promise<void> }
type Running<Session> = {
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
  })
}

async function start<S>(program: Program<S>, stack: Stack): Promise<Running<S>> {
  const direct = await program.open(stack.direct)
  const proxied = await program.open(stack.proxy)
  return {
    direct,
    proxied,
    async end() {
      await Promise.allSettled([program.close(direct), program.close(proxied)])
      await stack.close()
    },
  }
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
