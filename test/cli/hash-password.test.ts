// `ringfence hash-password`: what it prints proves the password, to PostgreSQL and to the proxy's file alike.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { describe, expect, inject, it } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { present } from '../support/clients.ts'

const entry = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))

type Ended = { readonly code: number; readonly output: string }

/** The command with `typed` as its standard input. */
async function piped(typed: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [entry, 'hash-password', ...args])
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (output += chunk.toString()))
  }
  child.stdin.end(typed)
  const [code] = await once(child, 'close')
  return { code: Number(code), output }
}

/** The command on a terminal of its own; each answer is typed once its prompt has come. */
async function typed(answers: readonly (readonly [prompt: string, answer: string])[]) {
  const command = `${process.execPath} ${entry} hash-password --user app`
  const child = spawn('/usr/bin/script', [
    '--quiet',
    '--return',
    '--echo',
    'never',
    '-c',
    command,
    '/dev/null',
  ])
  const rest = [...answers]
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    const [next] = rest
    if (next === undefined || !output.endsWith(next[0])) return
    rest.shift()
    child.stdin.write(next[1])
  })
  const [code] = await once(child, 'close')
  return { code: Number(code), output: output.replaceAll('\r', '') }
}

describe('ringfence hash-password', () => {
  it.each([
    { password: 'pencil', flags: [] },
    { password: 'p\u00e4ss\u2168 word', flags: ['--iterations', '10000'] },
  ])('prints what PostgreSQL takes as the stored password $password', async (example) => {
    const { password, flags } = example
    const { code, output } = await piped(`${password}\n`, ...flags)
    expect({ code, output }).toMatchObject({
      code: 0,
      output: expect.stringMatching(/^SCRAM-SHA-256\$\d+:[^$]+\$[^:]+:\S+\n$/),
    })
    expect(output).toContain(`$${flags[1] ?? '4096'}:`)
    const server = new URL(present(present(inject('servers')[0]).shards[0]).url)
    const owner = new Client({ connectionString: server.href })
    await owner.connect()
    try {
      await owner.query(`CREATE ROLE hashed LOGIN PASSWORD '${output.trim()}'`)
      const place = { host: server.hostname, port: Number(server.port), database: 'postgres' }
      const client = new Client({ ...place, user: 'hashed', password })
      await client.connect()
      await client.end()
      const wrong = new Client({ ...place, user: 'hashed', password: `${password}x` })
      await expect(wrong.connect()).rejects.toMatchObject({ code: '28P01' })
    } finally {
      await owner.query('DROP ROLE IF EXISTS hashed')
      await owner.end()
    }
  })

  it('prints an entry of "users" that the file accepts', async () => {
    const { output } = await piped('pencil', '--user', 'o"brien: # x')
    const loaded = loadConfig(
      `users:\n  ${output}databases: { app: { server_user: { name: a, password: b },
        shards: [{ id: s1, primary: "postgres://10.0.0.1/app" }] } }`,
      { file: 'f', env: {} },
    )
    expect(loaded).toMatchObject({ ok: true, config: { users: [{ name: 'o"brien: # x' }] } })
  })

  it('prints JSON', async () => {
    const { output } = await piped('pencil\n', '--json', '-u', 'app')
    expect(JSON.parse(output)).toEqual({ user: 'app', verifier: expect.stringMatching(/^SCRAM/) })
  })

  it.each([
    ['', 'an empty password is refused'],
    ['\n', 'an empty password is refused'],
    ['one\ntwo\n', 'one password on one line'],
  ])('ends with 1 for %j', async (text, message) => {
    const { code, output } = await piped(text)
    expect(code).toBe(1)
    expect(output).toContain(message)
  })

  it('ends with 2 for fewer rounds than the standard asks for', async () => {
    const { code, output } = await piped('x', '--iterations', '4095')
    expect(code).toBe(2)
    expect(output).toContain('whole number from 4096')
  })

  it('asks twice on a terminal, shows nothing, and obeys backspace', async () => {
    const answers = [
      ['Password of "app": ', 'pencik\u007fl\r'],
      ['Again: ', 'nonsense\u0015pencil\r'],
    ] as const
    const { code, output } = await typed(answers)
    expect(output).toMatch(/^Password of "app": \nAgain: \n- \{ name: "app", verifier: "SCRAM/)
    expect(code).toBe(0)
  })

  it('ends with 1 when the two differ, and at Ctrl-C', async () => {
    const differ = await typed([
      ['Password of "app": ', 'one\r'],
      ['Again: ', 'two\r'],
    ])
    expect(differ).toMatchObject({ code: 1, output: expect.stringContaining('differ') })
    const stopped = await typed([['Password of "app": ', 'on\u0003']])
    expect(stopped).toMatchObject({ code: 1, output: expect.stringContaining('no password') })
  })
})
