// Whom a client certificate names: its own names, or what a user map makes of them (pg_ident.conf).
import { X509Certificate } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { describeCertificate, namesUser } from '../../proxy/client-certificate.ts'
import { parseHbaFile } from '../../proxy/hba-file.ts'
import { certificate } from '../support/certificates.ts'

const anna = {
  commonName: 'anna',
  distinguishedName: 'O=Ringfence,CN=anna',
  alternativeNames: ['anna@example.org'],
}

describe('a certificate', () => {
  it('has the names that its authority has signed', () => {
    const described = describeCertificate(new X509Certificate(certificate('client-mapped').cert))
    expect(described).toEqual({
      commonName: 'bert.service',
      distinguishedName: 'O=Ringfence,CN=bert.service',
      alternativeNames: ['bert.service.example'],
    })
  })

  it.each([
    { user: 'anna', named: true },
    { user: 'anna@example.org', named: true },
    { user: 'ann', named: false },
    { user: 'ANNA', named: false },
    { user: 'O=Ringfence,CN=anna', named: false },
    { user: '', named: false },
  ])('of anna names "$user": $named', ({ user, named }) => {
    expect(namesUser(anna, user, null)).toBe(named)
  })

  it.each([
    { line: ['anna', 'boss'], user: 'boss', named: true },
    { line: ['anna', 'boss'], user: 'anna', named: false },
    { line: ['anna', 'all'], user: 'whoever', named: true },
    { line: ['O=Ringfence,CN=anna', 'boss'], user: 'boss', named: true },
    { line: ['/^(.*)@example\\.org$', '\\1'], user: 'anna', named: true },
    { line: ['/^(.*)@example\\.org$', '\\1_admin'], user: 'anna_admin', named: true },
    { line: ['/^(.*)@example\\.org$', '\\1'], user: 'bert', named: false },
    { line: ['/^nobody(x)?', '\\1'], user: '', named: false },
    { line: ['/^an(x)?', '\\1'], user: '', named: false },
    { line: ['/^anna$', '\\1'], user: '\\1', named: false },
  ])(
    'by the line $line names "$user": $named',
    ({ line: [name = '', mapped = ''], user, named }) => {
      const map = [{ map: 'm', certificate: name, user: mapped }]
      expect(namesUser(anna, user, map)).toBe(named)
    },
  )

  it('names nobody by a map without lines', () => {
    expect(namesUser(anna, 'anna', [])).toBe(false)
  })
})

describe('a pg_hba.conf', () => {
  it('has the method cert, with the name of a map', () => {
    const rules = parseHbaFile('hostssl all all all cert map=people\nhostssl all all all cert')
    expect(rules.map(({ method, map }) => ({ method, map }))).toEqual([
      { method: 'cert', map: 'people' },
      { method: 'cert', map: undefined },
    ])
    expect(() => parseHbaFile('hostssl all all all cert clientname=DN')).toThrow('takes map=')
  })
})
