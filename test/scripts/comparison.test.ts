// The comparison itself can fail: a relay that changes one thing between PostgreSQL and the client
// is found out, and what is documented as free to differ is not held against it.
import { connect, createServer, type Server } from 'node:net'
import { afterEach, describe, expect, inject, it } from 'vitest'
import type { Endpoint } from '../support/raw-connection.ts'
import { diffConversations } from '../support/wire-diff.ts'
import { playScript } from '../support/wire-run.ts'
import { parseWireScript } from '../support/wire-script.ts'

const [servers] = inject('servers')
const home = new URL(servers?.shards[0]?.url ?? '')
const direct: Endpoint = {
  host: home.hostname,
  port: Number(home.port),
  user: decodeURIComponent(home.username),
  password: decodeURIComponent(home.password),
  database: home.pathname.slice(1),
}

const relays: Server[] = []
afterEach(() => {
  for (const relay of relays.splice(0)) relay.close()
})

/** A server that hands PostgreSQL's bytes on after `change`, which keeps their number. */
async function relayThat(change: (chunk: Buffer) => Buffer): Promise<Endpoint> {
  const relay = createServer((client) => {
    const server = connect({ host: direct.host, port: direct.port })
    const end = () => {
      client.destroy()
      server.destroy()
    }
    client.on('data', (chunk) => server.write(chunk))
    server.on('data', (chunk) => client.write(change(Buffer.from(chunk))))
    for (const socket of [client, server]) socket.on('close', end).on('error', end)
  })
  relays.push(relay)
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  const address = relay.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { ...direct, host: '127.0.0.1', port: address.port }
}

/** Replaces bytes by as many others, wherever they stand in a chunk. */
const replacing = (from: string, to: string) => (chunk: Buffer) =>
  Buffer.from(chunk.toString('latin1').replaceAll(from, to), 'latin1')

async function difference(script: string, change: (chunk: Buffer) => Buffer): Promise<string> {
  const parsed = parseWireScript('inline', script)
  const changed = await relayThat(change)
  return diffConversations(await playScript(parsed, direct), await playScript(parsed, changed))
}

describe('the comparison of two conversations', () => {
  it('finds nothing when nothing was changed', async () => {
    expect(await difference('Query "SELECT 1; SELECT 2"\nwait ready', (chunk) => chunk)).toBe('')
  })

  it.each([
    { what: 'a value', script: 'Query "SELECT \'value\'"', from: 'value', to: 'valeu' },
    { what: 'a column name', script: 'Query "SELECT 1 AS name"', from: 'name\0', to: 'nume\0' },
    { what: 'a tag', script: 'Query "BEGIN"', from: 'BEGIN\0', to: 'BEGAN\0' },
    { what: 'a status', script: 'Query "BEGIN"', from: 'Z\0\0\0\x05T', to: 'Z\0\0\0\x05I' },
    { what: 'an SQLSTATE', script: 'Query "SELECT 1/0"', from: 'C22012', to: 'C22013' },
    { what: 'a message type', script: 'Sync', from: 'Z\0\0\0\x05I', to: 'z\0\0\0\x05I' },
    {
      what: 'a parameter',
      script: 'Query "SET TimeZone = \'Asia/Tokyo\'"',
      from: 'Tokyo\0',
      to: 'Tokio\0',
    },
  ])('finds $what that was changed', async ({ script, from, to }) => {
    const wait = from.startsWith('Z\0\0\0\x05I') ? 'wait flush 1' : 'wait ready'
    // Only the conversation is changed, not the login before it.
    let loggedIn = false
    const change = (chunk: Buffer): Buffer => {
      if (loggedIn) return replacing(from, to)(chunk)
      loggedIn = chunk.includes('Z\0\0\0\x05I')
      return chunk
    }
    expect(await difference(`${script}\n${wait}`, change)).toContain('+ << ')
  })

  it('lets file, line and routine of an error differ', async () => {
    const script = 'Query "SELECT 1/0"\nwait ready'
    expect(await difference(script, replacing('Rint4div\0', 'Rint4dev\0'))).toBe('')
  })

  it('shows both sides of a difference with the lines around it', async () => {
    const script = 'Query "SELECT 1"\nwait ready\nQuery "SELECT \'good\'"\nwait ready'
    const shown = await difference(script, replacing('good', 'evil'))
    expect(shown).toMatch(/^ {2}>> Query "SELECT 1"$/m)
    expect(shown).toMatch(/^- << DataRow "good"/m)
    expect(shown).toMatch(/^\+ << DataRow "evil"/m)
  })
})

describe('a wire script', () => {
  it.each([
    ['Quary "SELECT 1"', /wire:1: Quary/],
    ['Query "SELECT 1" "more"', /wire:1: Query/],
    ['# fine\nQuery SELECT', /wire:2: Query/],
    ['wait forever', /wire:1: wait/],
    ['repeat 3\nSync', /repeat without end/],
    ['Bind "" "" [text "unclosed"', /wire:1: Bind/],
  ])('is refused with its line when it cannot be read: %j', (text, where) => {
    expect(() => parseWireScript('wrong', text)).toThrow(where)
  })

  it('unrolls what it repeats', () => {
    const { steps } = parseWireScript(
      'repeated',
      'repeat 3\nQuery "SELECT ${i}"\nend\nwait ready 3',
    )
    const sent = steps.flatMap((step) =>
      step.kind === 'message' ? [step.bytes.toString('latin1', 5)] : [],
    )
    expect(sent).toEqual(['SELECT 1\0', 'SELECT 2\0', 'SELECT 3\0'])
  })
})
