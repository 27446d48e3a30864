// Generated sessions that read and write: answers, and after every transaction the rows on every
// shard, are those of one PostgreSQL; each row lies where its key belongs, copies of reference
// tables are equal, home tables stay at home.
import { assert, asyncProperty } from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Arena, openArena } from './arena.ts'
import { program } from './programs.ts'
import { parameters, runSeed, timeoutMs } from './run-seeds.ts'
import type { Statement } from './side.ts'
import { Tape, tapes } from './tape.ts'

describe.each(inject('servers'))('sessions over shards on PostgreSQL $version', (servers) => {
  let arena: Arena
  beforeAll(async () => {
    arena = await openArena(servers)
  })
  afterAll(async () => arena.close())

  const counts = { same: 0, failed: 0, refused: 0 }

  /** @throws Error that tells the session up to the step that went wrong. */
  async function play(steps: readonly Statement[]): Promise<void> {
    const { pair, contents } = arena
    const story: string[] = []
    const fail = (what: string) => new Error(`${story.join('\n')}\n${what}`)
    for (const step of steps) {
      const params = step.params?.map(({ value }) => String(value)).join(' | ')
      story.push(`${step.sql};${params === undefined ? '' : ` -- extended: ${params}`}`)
      const verdict = await pair.run(step).catch((thrown: unknown) => {
        throw fail(String(thrown))
      })
      story.push(`-- ${verdict.kind === 'refused' ? verdict.message : verdict.kind}`)
      if (verdict.kind === 'different') throw fail(verdict.what)
      if (verdict.kind === 'refused') counts.refused += 1
      else if (verdict.reply.error === null) counts.same += 1
      else counts.failed += 1
      // Behind an open transaction's locks nothing can be seen.
      if (verdict.reply.status !== 'I') continue
      const faults = await contents.faults()
      if (faults.length > 0) throw fail(faults.join('\n'))
    }
    await pair.settle()
    const faults = await contents.faults()
    if (faults.length > 0) throw fail(`after ROLLBACK: ${faults.join('\n')}`)
  }

  it('leave what one server would have', { timeout: timeoutMs }, async () => {
    const property = asyncProperty(tapes(150), async (numbers) => {
      await arena.reset()
      await play(program(new Tape(numbers), servers.version))
    })
    await assert(property, parameters(150))
    process.stdout.write(`sessions: seed ${runSeed}: ${JSON.stringify(counts)}\n`)
    expect(counts.same).toBeGreaterThan(counts.failed)
  })
})
