// What `check` says of the files that logins go by.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { loginFindings } from '../../cli/login-findings.ts'
import { configOf, oneShard } from '../config/files.ts'

const dir = mkdtempSync(join(tmpdir(), 'logins-'))
afterAll(() => rmSync(dir, { recursive: true }))

const findings = (list: string, hba: string) => {
  const [listFile, hbaFile] = [join(dir, 'userlist.txt'), join(dir, 'hba.conf')]
  writeFileSync(listFile, list)
  writeFileSync(hbaFile, hba)
  const config = configOf(`auth: { file: ${listFile}, hba_file: ${hbaFile} }\n${oneShard}`)
  return loginFindings(config, (path) => path.join('.')).map(({ where, message }) => {
    return `${where}: ${message}`
  })
}

it('a user list and a pg_hba.conf that are right are no finding', () => {
  expect(findings('"anna" "pencil"', 'local all all trust')).toEqual([])
})

it('wrong ones are found with their line', () => {
  expect(findings('\nanna pencil', '# x\n\nlocal all all ident')).toEqual([
    'auth.file: line 2: expected "name" "password", both in double quotes',
    expect.stringMatching(/^auth\.hba_file: line 3: "ident" is not supported: the methods are /),
  ])
})

it('missing ones are found by name', () => {
  const config = configOf(`auth: { file: ${join(dir, 'nowhere')} }\n${oneShard}`)
  expect(loginFindings(config, () => '')).toMatchObject([
    { severity: 'error', subject: 'auth.file', message: expect.stringContaining('nowhere') },
  ])
})
