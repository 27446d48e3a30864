// Generated SELECTs: the answer of three shards is the answer of one PostgreSQL that holds all
// rows, or a refusal.
import { assert, asyncProperty } from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { type Arena, openArena } from './arena.ts'
import { readStatement } from './reads.ts'
import { parameters, runSeed, timeoutMs } from './run-seeds.ts'
import { Tape, tapes } from './tape.ts'

describe.each(inject('servers'))('SELECTs over shards on PostgreSQL $version', (servers) => {
  let arena: Arena
  beforeAll(async () => {
    arena = await openArena(servers)
  })
  afterAll(async () => arena.close())

  it('answer as one server would, or are refused', { timeout: timeoutMs }, async () => {
    const counts = { answered: 0, rows: 0, failed: 0, refused: 0 }
    const property = asyncProperty(tapes(120), async (numbers) => {
      const statement = readStatement(new Tape(numbers))
      const verdict = await arena.pair.run(statement)
      if (verdict.kind === 'different') {
        const params = statement.params?.map(({ value }) => String(value)).join(' | ') ?? ''
        throw new Error(`${statement.sql}\n${params}\n${verdict.what}`)
      }
      if (verdict.kind === 'refused') counts.refused += 1
      else if (verdict.reply.error !== null) counts.failed += 1
      else {
        counts.answered += 1
        counts.rows += verdict.reply.results[0]?.rows.length ?? 0
      }
    })
    await assert(property, parameters(1_500))
    process.stdout.write(`reads: seed ${runSeed}: ${JSON.stringify(counts)}\n`)
    expect(counts.answered).toBeGreaterThan(counts.failed)
    expect(counts.rows).toBeGreaterThan(counts.answered)
    expect(await arena.contents.faults()).toEqual([])
  })
})
