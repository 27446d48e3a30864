// The command's short-lived parts: help, mistakes on the command line and in the file, init, explain.
import { writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { askServer, present } from '../support/clients.ts'
import { type ConfigFile, createConfig } from './config-file.ts'
import { runProgram } from './program.ts'

let file: ConfigFile
beforeAll(async () => {
  file = await createConfig(present(inject('servers')[0]), 2)
})
afterAll(() => file.remove())

describe('ringfence', () => {
  it('explains itself with examples and exit codes', async () => {
    const { code, stdout } = await runProgram(['--help'])
    expect(code).toBe(0)
    for (const command of ['serve', 'init', 'check', 'explain', 'shard', 'demo']) {
      expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'))
    }
    expect(stdout).toContain('Examples:')
    expect(stdout).toContain('Exit codes: 0 done, 1 refused or found problems, 2 wrong arguments')
  })

  it('tells its version', async () => {
    expect(await runProgram(['--version'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    })
  })

  it.each([
    { args: ['serv'], says: "unknown command 'serv'" },
    { args: ['serve', '--port', '1'], says: "unknown option '--port'" },
    { args: ['demo', '--shards', '0'], says: 'whole number from 1' },
    { args: ['demo', '--replicas', 'two'], says: 'whole number from 0' },
    { args: ['explain'], says: "missing required argument 'statement'" },
  ])('ends with 2 for $args and says what is wrong', async ({ args, says }) => {
    const { code, stderr, stdout } = await runProgram(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(says)
    expect(stderr).toContain('Usage:')
  })

  it.each(['serve', 'init', 'check'])('%s ends with 1 without its file', async (command) => {
    const { code, stdout, stderr } = await runProgram([command, '--config', '/nowhere/r.yaml'])
    expect(code).toBe(1)
    expect(stdout + stderr).toContain('/nowhere/r.yaml')
    expect(stdout + stderr).not.toContain('    at ')
  })

  it('names every mistake of the file, with its line, before it does anything', async () => {
    const path = `${file.path}.wrong`
    await writeFile(
      path,
      file.text.replace('port: 0 }', 'prt: 0 }').replace('level: info', 'level: x'),
    )
    const { code, stderr } = await runProgram(['serve'], { RINGFENCE_CONFIG: path })
    expect(code).toBe(1)
    expect(stderr).toMatch(/:1:\d+.*"prt"/)
    expect(stderr).toMatch(/:4:\d+/)
  })
})

describe('ringfence serve', () => {
  it('asks for init where there is no catalog yet', async () => {
    const { code, stderr } = await runProgram(['serve', '--config', file.path])
    expect(code).toBe(1)
    expect(stderr).toContain('ringfence init')
  })
})

describe('ringfence init', () => {
  it('says what it has done, and does nothing when it is run again', async () => {
    const first = await runProgram(['init', '--config', file.path])
    expect(first).toMatchObject({ code: 0, stderr: '' })
    expect(first.stdout).toMatch(/^applied app s1: .*\n(?:applied .*\n)+done\n$/)
    const state = `SELECT string_agg(table_name || ' ' || column_name, ',' ORDER BY 1)
                   FROM information_schema.columns WHERE table_schema = 'ringfence'`
    const before = await Promise.all(file.urls.map((url) => askServer(url, state)))
    expect(before.flat()).not.toContain(null)
    const again = await runProgram(['init', '--config', file.path])
    expect(again).toMatchObject({ code: 0, stderr: '' })
    expect(again.stdout).toBe('nothing to do: every shard is up to date\n')
    const json = await runProgram(['init', '--json', '--config', file.path])
    expect(JSON.parse(json.stdout)).toEqual({ applied: [], waiting: [] })
    expect(await Promise.all(file.urls.map((url) => askServer(url, state)))).toEqual(before)
  })
})

describe('ringfence explain', () => {
  it('shows how a statement would go, and runs nothing', async () => {
    for (const url of file.urls) {
      await askServer(url, 'CREATE TABLE IF NOT EXISTS orders (tenant_id bigint, id int)')
    }
    const sql = 'DELETE FROM orders WHERE tenant_id = 42'
    const { code, stdout } = await runProgram(['explain', sql, '--json', '--config', file.path])
    expect(code).toBe(0)
    const route: unknown = JSON.parse(stdout)
    expect(route).toMatchObject({
      class: expect.any(String),
      shard: expect.stringMatching(/^s[12]$/),
    })
    const table = await runProgram(['explain', sql, '--config', file.path])
    expect(table.stdout).toMatch(/shard.*s[12]/)
  })

  it('ends with 1 for what would be refused, and says why', async () => {
    const sql = 'UPDATE orders SET tenant_id = 2 WHERE tenant_id = 1'
    const { code, stdout } = await runProgram(['explain', sql, '--config', file.path])
    expect(code).toBe(1)
    expect(stdout).toContain('error')
  })
})
