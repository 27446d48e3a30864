// Conversations of a client that the fault suite breaks off: one for each way of talking to PostgreSQL. Each writes at most
// one row, named by `id`, so that it can be said afterwards what has become of it.
import {
  bindBytes,
  executeBytes,
  frontendMessage,
  parseBytes,
  targetBytes,
  textBytes,
} from '../support/frontend-bytes.ts'

/** Messages that are sent at once, and the answer that the client waits for before it goes on. */
export type Turn = {
  readonly messages: readonly Buffer[]
  /** `Z`: ReadyForQuery; `G`: CopyInResponse; null: the client goes on at once. */
  readonly until: 'Z' | 'G' | null
}

export type Conversation = {
  readonly name: string
  readonly turns: (id: string) => readonly Turn[]
  /** Number of messages that must have been sent for the row to be there; null: it never is. */
  readonly commits: number | null
}

/** Where the suite's rows are kept; `note` is what COPY OUT reads. */
export const conversationSetup = `CREATE TABLE kept (id text PRIMARY KEY)

CREATE TABLE plenty AS SELECT g AS id, repeat('x', 60) AS note FROM generate_series(1, 6) g`

const empty = Buffer.alloc(0)
const sync = frontendMessage('S')
const flush = frontendMessage('H')
const query = (sql: string) => textBytes('Q', sql)
const text = (value: string) => ({ format: 0, value: Buffer.from(value) }) as const
const parse = (sql: string, name = '') => parseBytes(Buffer.from(name), Buffer.from(sql), [])
const bind = (value: string | null, name = '') =>
  bindBytes(empty, Buffer.from(name), value === null ? [] : [text(value)], [])
const describe = targetBytes('D', 'P', empty)
const execute = executeBytes(empty, 0)
const copyData = (line: string) => frontendMessage('d', Buffer.from(line))
const insert = (id: string) => `INSERT INTO kept VALUES ('${id}')`
const insertBound = 'INSERT INTO kept VALUES ($1)'

/** All of them. */
export const conversations: readonly Conversation[] = [
  {
    name: 'simple read',
    turns: () => [{ messages: [query('SELECT id, note FROM plenty')], until: 'Z' }],
    commits: null,
  },
  {
    name: 'simple write',
    turns: (id) => [{ messages: [query(insert(id))], until: 'Z' }],
    commits: 1,
  },
  {
    name: 'several statements in one string',
    turns: (id) => [
      { messages: [query(`SELECT 1; ${insert(id)}; SELECT note FROM plenty`)], until: 'Z' },
    ],
    commits: 1,
  },
  {
    name: 'extended read',
    turns: () => [
      {
        messages: [
          parse('SELECT note FROM plenty WHERE id > $1::int', 's1'),
          bind('3', 's1'),
          describe,
          execute,
          sync,
        ],
        until: 'Z',
      },
    ],
    commits: null,
  },
  {
    name: 'extended write',
    turns: (id) => [
      { messages: [parse(insertBound), bind(id), describe, execute, sync], until: 'Z' },
    ],
    commits: 5,
  },
  {
    name: 'extended with Flush',
    turns: (id) => [
      { messages: [parse(insertBound), flush], until: null },
      { messages: [bind(id), flush, execute, flush], until: null },
      { messages: [sync], until: 'Z' },
    ],
    commits: 7,
  },
  {
    name: 'COPY FROM STDIN',
    turns: (id) => [
      { messages: [query('COPY kept FROM STDIN')], until: 'G' },
      {
        messages: [copyData(`${id}\n`), copyData(`${id}-2\n`), frontendMessage('c')],
        until: 'Z',
      },
    ],
    commits: 4,
  },
  {
    name: 'COPY FROM STDIN, given up',
    turns: (id) => [
      { messages: [query('COPY kept FROM STDIN')], until: 'G' },
      { messages: [copyData(`${id}\n`), textBytes('f', 'no more')], until: 'Z' },
    ],
    commits: null,
  },
  {
    name: 'COPY FROM STDIN in the extended protocol',
    turns: (id) => [
      { messages: [parse('COPY kept FROM STDIN'), bind(null), execute, flush], until: 'G' },
      { messages: [copyData(`${id}\n`), frontendMessage('c'), sync], until: 'Z' },
    ],
    commits: 7,
  },
  {
    name: 'COPY TO STDOUT',
    turns: () => [{ messages: [query('COPY plenty TO STDOUT')], until: 'Z' }],
    commits: null,
  },
  {
    name: 'transaction',
    turns: (id) => [
      { messages: [query('BEGIN')], until: 'Z' },
      { messages: [query("SET LOCAL statement_timeout = '77s'")], until: 'Z' },
      { messages: [query(insert(id))], until: 'Z' },
      { messages: [parse('SELECT id FROM kept LIMIT 1'), bind(null), execute, sync], until: 'Z' },
      { messages: [query('COMMIT')], until: 'Z' },
    ],
    commits: 8,
  },
  {
    name: 'transaction in one pipeline',
    turns: (id) => [
      {
        messages: [
          parse('BEGIN'),
          bind(null),
          execute,
          parse(insertBound),
          bind(id),
          execute,
          parse('COMMIT'),
          bind(null),
          execute,
          sync,
        ],
        until: 'Z',
      },
    ],
    // The COMMIT takes effect without its Sync.
    commits: 9,
  },
  {
    name: 'pipeline of three with Syncs of their own',
    turns: (id) => [
      {
        messages: [
          parse('SELECT note FROM plenty'),
          bind(null),
          execute,
          sync,
          parse(insertBound),
          bind(id),
          execute,
          sync,
          parse('SELECT count(*) FROM plenty'),
          bind(null),
          execute,
          sync,
        ],
        until: 'Z',
      },
    ],
    commits: 8,
  },
  {
    name: 'suspended portal',
    turns: (id) => [
      {
        messages: [
          query('BEGIN'),
          parse('SELECT note FROM plenty'),
          bind(null),
          executeBytes(empty, 2),
          executeBytes(empty, 2),
          sync,
          query(`${insert(id)}; ROLLBACK`),
        ],
        until: 'Z',
      },
    ],
    commits: null,
  },
]

/** ReadyForQuery messages that a whole conversation brings. */
export function readiesOf(turns: readonly Turn[]): number {
  return turns
    .flatMap(({ messages }) => messages)
    .filter((message) => 'QS'.includes(String.fromCharCode(message[0] ?? 0))).length
}
