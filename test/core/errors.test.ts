// Errors that clients meet: every row of the table is complete, and arguments land where they belong.
import { describe, expect, it } from 'vitest'
import type { ErrorSpec } from '../../core/error-spec.ts'
import { errorTable } from '../../core/error-table.ts'
import { PgError, pgError, toPgError } from '../../core/errors.ts'

const rows = Object.entries<ErrorSpec>(errorTable)

describe('the error table', () => {
  it.each(rows)('%s follows PostgreSQL’s style guide', (_name, spec) => {
    expect(spec.sqlstate).toMatch(/^[0-9A-Z]{5}$/)
    expect(spec.message).not.toMatch(/[.!]$/)
    expect(spec.message).toMatch(/^(?:[a-z%]|[A-Z]{4,} )/)
    expect(spec.hint ?? 'None.').toMatch(/^[A-Z].*\.$/s)
    expect(spec.meaning).toMatch(/\.$/)
  })
})

describe('an error', () => {
  it('takes its arguments in message first, then hint', () => {
    const error = pgError('unsupportedAcrossShards', ['DISTINCT', 'tenant_id'])
    expect(error.message).toBe('DISTINCT is not supported across shards')
    expect(error.hint).toContain('WHERE tenant_id = …')
    expect(error).toMatchObject({ sqlstate: '0A000', severity: 'ERROR' })
  })

  it('keeps an argument that looks like a place for arguments as it is', () => {
    expect(pgError('poolTimeout', ['%s', 5]).message).toContain('"%s" became free within 5 ms')
  })

  it('is passed on as it is when it is ours, and becomes an internal one when it is a bug', () => {
    const known = pgError('userMissing')
    expect(toPgError(known)).toBe(known)
    const bug = toPgError(new TypeError('x is not a function'))
    expect(bug).toBeInstanceOf(PgError)
    expect(bug).toMatchObject({ sqlstate: 'XX000', severity: 'ERROR' })
    expect(bug.message).toContain('x is not a function')
  })
})
