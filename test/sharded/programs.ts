// Makes programs: sessions of a few statements that read and write, in and outside of transactions,
// with savepoints, errors, COPY, settings, strings of several statements.
import { readStatement } from './reads.ts'
import type { Statement } from './side.ts'
import type { Tape } from './tape.ts'
import { Values } from './values.ts'
import { writeStatement } from './writes.ts'

/** The statements of one session. */
export function program(tape: Tape, version: number): Statement[] {
  const steps: Statement[] = []
  const transaction = tape.oneIn(2)
  const begin = tape.pick([
    'BEGIN',
    'BEGIN',
    'START TRANSACTION ISOLATION LEVEL REPEATABLE READ',
    'BEGIN READ ONLY',
  ])
  if (transaction) steps.push(plain(begin))
  while (!tape.ended && steps.length < 8) steps.push(step(tape, version, transaction))
  if (transaction)
    steps.push(plain(tape.pick(['COMMIT', 'COMMIT', 'END', 'ROLLBACK', 'COMMIT AND CHAIN'])))
  return steps
}

function step(tape: Tape, version: number, transaction: boolean): Statement {
  if (transaction && tape.oneIn(3)) return plain(control(tape))
  const kind = tape.below(20)
  if (kind < 10) return writeStatement(tape, { version, params: true })
  if (kind < 13) return readStatement(tape)
  if (kind < 15) return copyIn(tape)
  if (kind < 16) return plain(copyOut(tape))
  if (kind < 17) return plain(setting(tape))
  if (kind < 19) return several(tape, version)
  return plain(
    tape.pick([
      'SELECT 1 / 0',
      'SELECT nothing',
      'SELEC 1',
      '',
      'SELECT 1 AS one',
      'COMMIT',
      'BEGIN',
    ]),
  )
}

function plain(sql: string): Statement {
  return { sql, params: null }
}

function control(tape: Tape): string {
  return tape.pick([
    'SAVEPOINT a',
    'ROLLBACK TO a',
    'SAVEPOINT b',
    'ROLLBACK TO SAVEPOINT b',
    'RELEASE a',
    'SELECT 1 / 0',
    'COMMIT',
    'ROLLBACK',
    'BEGIN',
    'SET LOCAL statement_timeout = 0',
    'SET CONSTRAINTS ALL DEFERRED',
  ])
}

/** A string of statements, which PostgreSQL runs as one transaction. */
function several(tape: Tape, version: number): Statement {
  const count = 2 + tape.below(2)
  const texts = Array.from({ length: count }, () => {
    const statement = tape.mostly(4)
      ? writeStatement(tape, { version, params: false })
      : plain(
          tape.pick([
            'SELECT id FROM users WHERE tenant_id = 3',
            'SELECT 1 / 0',
            'SELECT name FROM products',
          ]),
        )
    return statement.sql
  })
  return plain(texts.join(tape.pick([';', '; ', ' ;\n-- between\n'])))
}

function setting(tape: Tape): string {
  return tape.pick([
    'SET search_path TO shop, public',
    'SET search_path = public, shop',
    'RESET search_path',
    "SELECT set_config('search_path', 'shop, public', false)",
    'SET datestyle TO german',
    'RESET ALL',
    'SHOW search_path',
    "SET intervalstyle = 'iso_8601'",
    'SET search_path TO nowhere',
    'DISCARD PLANS',
  ])
}

function copyIn(tape: Tape): Statement {
  const values = new Values(tape, { params: false })
  const rows = Array.from({ length: tape.below(4) }, () => {
    const key = tape.oneIn(6)
      ? tape.pick(['x', '\\N', '', '12'])
      : tape.oneIn(6)
        ? values.anyKey()
        : values.key
    return { key, id: 1 + tape.below(9) }
  })
  const text = (line: (row: { key: string; id: number }) => string) => rows.map(line).join('\n')
  const [sql, copyData] = tape
    .pick([
      () => ['COPY users (tenant_id, id) FROM STDIN', text(({ key, id }) => `${key}\t${id}`)],
      () => [
        'COPY users (id, email, tenant_id) FROM STDIN',
        text(({ key, id }) => `${id}\ta\\tb\\\\\t${key}`),
      ],
      () => [
        'COPY orders (id, tenant_id, status) FROM STDIN (FORMAT csv)',
        text(({ key, id }) => `${id},${key},"a\n,b"`),
      ],
      () => [
        'COPY users (tenant_id, id) FROM STDIN CSV HEADER',
        `tenant_id,id\n${text(({ key, id }) => `"${key}",${id}`)}`,
      ],
      () => [
        "COPY shop.orders FROM STDIN (DELIMITER '|', NULL 'none')",
        text(({ key, id }) => `${id}|none|${key}`),
      ],
      () => [
        'COPY products (id, name, number, code, made) FROM STDIN',
        '20\tx\t7\t00000000-0000-4000-8000-000000000009\t2024-01-01\n',
      ],
      () => ['COPY settings FROM STDIN', text(({ id }) => `s${id}\t\\N`)],
    ])()
    .concat('')
  return { sql: sql ?? '', params: null, copyData: `${copyData ?? ''}\n`.replace(/^\n+$/, '') }
}

function copyOut(tape: Tape): string {
  return tape.pick([
    'COPY (SELECT tenant_id, id, email FROM users WHERE tenant_id = 3) TO STDOUT',
    "COPY (SELECT * FROM orders WHERE tenant_id = '-1' ORDER BY id) TO STDOUT (FORMAT csv, HEADER)",
    'COPY users TO STDOUT',
    'COPY products (id, name, price) TO STDOUT',
    'COPY settings TO STDOUT CSV',
    'COPY (SELECT id FROM users) TO STDOUT',
    'COPY (DELETE FROM users WHERE tenant_id = 7 RETURNING id) TO STDOUT',
    'COPY (UPDATE users SET age = 1 RETURNING id) TO STDOUT',
    'COPY (SELECT name FROM products ORDER BY id) TO STDOUT',
  ])
}
