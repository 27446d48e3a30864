// SQL in the pages: the comment behind a statement is the class that `ringfence explain` shows, or the refusal.
import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { SettingsProfile } from '../../pool/settings-profile.ts'
import { explainRoute } from '../../router/explain.ts'
import { runSql, startStack, type Stack } from '../support/stack.ts'
import { readPage } from './markdown.ts'

type Example = { readonly statement: string; readonly says: string }

/** Statements with the comment at the end of their last line. */
function examplesOf(text: string): readonly Example[] {
  const lines = [...text.matchAll(/^(.*?;) +-- (.*)$/gm)]
  return lines.map(([, statement = '', says = '']) => ({ statement, says: says.trim() }))
}

const pages = ['README.md', 'docs/routing.md'].map((file) => {
  const { fences } = readPage(file)
  const sql = fences.filter(({ info }) => info === 'sql').map(({ text }) => text)
  return { file, sql, examples: sql.flatMap(examplesOf) }
})
const setup = readPage('docs/routing.md').fences.find(({ info }) => info === 'sql setup')

const [servers] = inject('servers')
if (servers === undefined) throw new Error('the tests have no servers')

describe('statements of the pages', () => {
  let stack: Stack | undefined
  let client: Client | undefined

  beforeAll(async () => {
    stack = await startStack(servers, { shards: 3 })
    await runSql(stack.proxy, setup?.text ?? '')
    client = new Client(stack.proxy)
    await client.connect()
  })
  afterAll(async () => {
    await client?.end()
    await stack?.close()
  })

  it.each(pages)('$file: every statement has its comment', ({ sql, examples }) => {
    const statements = sql
      .join('\n')
      .split('\n')
      .filter((line) => line.trim() !== '')
    expect(statements.length).toBe(examples.length)
    expect(examples.length).toBeGreaterThan(3)
  })

  it.each(pages.flatMap(({ examples }) => examples))('$statement', ({ statement, says }) => {
    const database = stack?.instance.databases.get(stack.proxy.database)
    if (database === undefined) throw new Error('the proxy serves the test database')
    const context = database.contextFor(SettingsProfile.empty, 'postgres')
    const aspects = new Map(explainRoute(statement, database.router, context))
    const kind = aspects.get('class')
    expect(kind === 'refused' ? `refused: ${aspects.get('error')}` : kind).toBe(says)
  })

  it.each(pages.flatMap(({ examples }) => examples.filter(isRead)))(
    'is answered: $statement',
    async ({ statement }) => {
      await expect(client?.query(statement)).resolves.toBeDefined()
    },
  )

  it.each(pages.flatMap(({ examples }) => examples.filter(isRefusal)))(
    'is refused: $statement',
    async ({ statement, says }) => {
      const message = says.slice('refused: '.length)
      await expect(client?.query(statement)).rejects.toMatchObject({ message })
    },
  )
})

function isRefusal({ says }: Example): boolean {
  return says.startsWith('refused: ')
}

/** Statements that change nothing and need nothing but the tables of the setup. */
function isRead({ statement, says }: Example): boolean {
  return /^(?:SELECT|WITH|SHOW|EXPLAIN)/.test(statement) && !says.startsWith('refused: ')
}
