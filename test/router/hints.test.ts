// Hints in comments: what they say, and that they cost the plan cache nothing.
import { beforeAll, describe, expect, it } from 'vitest'
import { blankHints } from '../../router/hints.ts'
import { Lexer } from '../../router/lexer.ts'
import { loadParser } from '../../router/parser.ts'
import { Router } from '../../router/router.ts'
import { plainContext, sampleContext } from './sample.ts'

beforeAll(loadParser)

const router = new Router({ cacheEntriesMax: 100 })
const read = (sql: string, context = plainContext) =>
  router.statements(Buffer.from(sql, 'utf8'), context)

describe('hints', () => {
  it('are none in a text without them', () => {
    expect(read('SELECT 1 /* no hint */ -- nor here')).toMatchObject({
      hints: null,
      hintProblem: null,
      hintSpans: [],
    })
  })

  it('take session ids of 128 bytes, and 16 of them', () => {
    const long = 'é'.repeat(64)
    expect(read(`/* ringfence:session_id=${long} */ SELECT 1`)).toMatchObject({
      hints: { target: null, sessionIds: [long] },
      hintProblem: null,
    })
    const ids = Array.from({ length: 16 }, (_, at) => `user-${at}`)
    const comments = ids.map((id) => `/* ringfence:session_id=${id} */`).join(' ')
    expect(read(`${comments} ${comments} SELECT 1`)).toMatchObject({
      hints: { target: null, sessionIds: ids },
      hintProblem: null,
    })
    expect(read(`${comments} SELECT 1 /* ringfence:session_id=one-more */`)).toMatchObject({
      hints: { target: 'primary', sessionIds: ids },
      hintProblem: 'more than 16 session_id hints',
    })
  })

  it('send a session whose id is too long to the primary, whatever else they say', () => {
    const sql = `/* ringfence:replica, session_id=${'é'.repeat(64)}e */ SELECT 1`
    expect(read(sql)).toMatchObject({
      hints: { target: 'primary', sessionIds: [] },
      hintProblem: 'session_id of more than 128 bytes in a hint',
    })
  })

  it('end where a line comment ends', () => {
    expect(read('SELECT 1 -- ringfence:primary').hints?.target).toBe('primary')
    expect(read('--\tringfence:primary\r\nSELECT 1').hints?.target).toBe('primary')
    expect(read('-- ringfence:primary\nSELECT 1 -- ringfence:session_id=x').hints).toEqual({
      target: 'primary',
      consistency: null,
      sessionIds: ['x'],
    })
  })

  it('hold for every statement of the string and stay in its text', () => {
    const { statements, hints } = read('SELECT 1; /* ringfence:primary */ SELECT 2')
    expect(hints?.target).toBe('primary')
    expect(statements.map(({ sql }) => sql)).toEqual([
      'SELECT 1',
      ' /* ringfence:primary */ SELECT 2',
    ])
  })

  it('count where nothing can be parsed as well', () => {
    expect(read('/* ringfence:primary */ SELEC').hints?.target).toBe('primary')
  })
})

describe('the plan cache', () => {
  const shapeOf = (sql: string, context = sampleContext()) => {
    const [statement] = router.statements(Buffer.from(sql), context).statements
    return statement?.shape
  }

  it.each([
    ['SELECT * FROM orders WHERE tenant_id = 5 /* ringfence:session_id=%s */'],
    ['/* ringfence:session_id=%s */ EXPLAIN SELECT * FROM orders WHERE tenant_id = 5'],
    ['/* ringfence:session_id=%s */ SET work_mem = 1000'],
    ["SELECT U&'d\\0061t\\+000061' -- ringfence:session_id=%s"],
  ])('has one shape for all users of %s', (sql) => {
    const context = sampleContext()
    const first = shapeOf(sql.replace('%s', 'user-41'), context)
    expect(first).toBeDefined()
    expect(shapeOf(sql.replace('%s', 'user-42'), context)).toBe(first)
  })

  it('keeps no statement that sets a token or an id: no two are alike', () => {
    const kept = "SELECT set_config('app.token', 'abc', false)"
    expect(shapeOf(kept, plainContext)).toBe(shapeOf(kept, plainContext))
    for (const sql of [
      "SELECT set_config('ringfence.session_token', 'abc', false)",
      "SET ringfence.session_token = 'abc'",
    ]) {
      expect(shapeOf(sql, plainContext)).toEqual(shapeOf(sql, plainContext))
      expect(shapeOf(sql, plainContext)).not.toBe(shapeOf(sql, plainContext))
    }
  })

  it('judges anew when the lists of functions are others', () => {
    const context = sampleContext()
    const sql = 'SELECT lower(note) FROM orders WHERE tenant_id = 5'
    expect(shapeOf(sql, context)?.replica.kind).toBe('allowed')
    const replicaRules = { allow: new Set<string>(), deny: new Set(['lower']) }
    expect(shapeOf(sql, { ...context, replicaRules })?.replica.kind).toBe('primary')
    expect(shapeOf(sql, context)?.replica.kind).toBe('allowed')
  })
})

describe('blanked hints', () => {
  it('leave everything else where it is', () => {
    const sql = Buffer.from('SELECT /* ringfence:session_id=ü */ 1 /* kept */ -- ringfence:primary')
    const { hints } = new Lexer().scan(sql)
    const blanked = Buffer.from(blankHints(sql, hints)).toString()
    expect(blanked.trimEnd()).toBe(`SELECT ${' '.repeat(29)} 1 /* kept */`)
    expect(blanked).toHaveLength(sql.length)
  })
})
