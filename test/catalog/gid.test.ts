// Names of prepared transactions: what is written is what is read.
import { assert, property, string } from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeGid, parseGid } from '../../catalog/gid.ts'
import { shardId } from '../../core/ids.ts'

describe('gid', () => {
  it('names decider, transaction and participant', () => {
    expect(makeGid(shardId('s1'), 'f3a0')).toBe('ringfence:s1:f3a0')
    expect(makeGid(shardId('s1'), 'f3a0', shardId('s2'))).toBe('ringfence:s1:f3a0:s2')
  })

  it('gives back its parts, whatever characters they have', () => {
    const name = string({ minLength: 1, maxLength: 10, unit: 'grapheme-ascii' })
    assert(
      property(name, name, name, (decider, id, participant) => {
        const gid = makeGid(shardId(decider), id, shardId(participant))
        expect(parseGid(gid)).toEqual({ decider, id, participant })
      }),
    )
  })

  it.each([
    'other:s1:x',
    'ringfence',
    'ringfence:',
    'ringfence:s1',
    'ringfence::x',
    'ringfence:s1:',
    'ringfence:s1:x:s2:y',
    'ringfence:%zz:x',
  ])('is not ours when it reads "%s"', (gid) => {
    expect(parseGid(gid)).toBeNull()
  })

  it('is never longer than PostgreSQL allows', () => {
    expect(makeGid(shardId('s'.repeat(60)), 'i'.repeat(36), shardId('p'.repeat(60)))).toHaveLength(
      168,
    )
    expect(() => makeGid(shardId('s'.repeat(100)), 'i'.repeat(100))).toThrow('fits')
  })
})
