// Two clients take turns on one server of a pool; two plain sessions do the same. Every answer must be the same.
import { type Client, type ClientConfig, DatabaseError } from 'pg'
import { connected } from '../../support/clients.ts'

/** `a: sql` or `b: sql`; a client that is not named before is connected then. */
export type Script = readonly string[]

/** The script of which each line is a command. */
export function lines(text: string): Script {
  return text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()]))
}

/** What one command was answered: rows and tags, or SQLSTATE and message. */
export type Told = string

/** Runs a script at one place. */
export async function runScript(place: ClientConfig, script: Script): Promise<Told[]> {
  const clients = new Map<string, Client>()
  const heard = new Map<string, string[]>()
  const told: Told[] = []
  try {
    for (const line of script) {
      const [, name = '', sql = ''] = /^(\w+): ([^]*)$/.exec(line) ?? []
      let client = clients.get(name)
      if (client === undefined) {
        client = await connected(place)
        const notices: string[] = []
        heard.set(name, notices)
        client.on('notification', ({ channel, payload }) => {
          notices.push(`${channel}(${payload ?? ''})`)
        })
        clients.set(name, client)
      }
      if (sql === 'disconnect') {
        await client.end()
        clients.delete(name)
        told.push('bye')
        continue
      }
      const notices = heard.get(name) ?? []
      const answer = await answerTo(client, sql)
      told.push([answer, ...notices.splice(0)].join(' | '))
    }
  } finally {
    await Promise.all([...clients.values()].map((client) => client.end().catch(() => undefined)))
  }
  return told
}

async function answerTo(client: Client, sql: string): Promise<Told> {
  const types = { getTypeParser: () => String }
  const [text = '', params] = sql.split(' ⟵ ')
  const values = params === undefined ? [] : params.split(', ')
  try {
    const config = { text, types, rowMode: 'array' as const }
    const found = await (params === undefined
      ? client.query(config)
      : client.query({ ...config, values }))
    const results = Array.isArray(found) ? found : [found]
    return results.map(({ command, rows }) => `${command} ${JSON.stringify(rows)}`).join('; ')
  } catch (error) {
    if (!(error instanceof DatabaseError)) throw error
    const { code = '', message, position = '' } = error
    return `${code} ${message} ${position}`
  }
}
