// Real servers judge our protocol versions, our SCRAM and our reading of shard key values.
import * as fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest'
import { createVerifier, parseVerifier } from '../../wire/scram-keys.ts'
import { int8FromText, uuidFromText } from '../../wire/values.ts'
import { Dialogue } from './dialogue.ts'

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`

describe.each(inject('servers'))('PostgreSQL $version', ({ version, shards }) => {
  const url = shards[0]?.url ?? ''
  const role = `wire_login_${process.pid}`
  let admin: Dialogue

  beforeAll(async () => {
    admin = (await Dialogue.open(url, 0)).dialogue
    await admin.query(`SET password_encryption = 'scram-sha-256'; CREATE ROLE ${role} LOGIN`)
  })
  afterAll(async () => {
    await admin.query(`DROP ROLE ${role}`)
    admin.close()
  })

  const newestMinor = version >= 18 ? 2 : 0

  it.each([[0], [2], [9999]])('protocol 3.%i is taken, or negotiated down', async (minor) => {
    const { dialogue, greeting } = await Dialogue.open(url, minor)
    expect(greeting.negotiatedMinor).toBe(minor > newestMinor ? newestMinor : undefined)
    expect(greeting.secretBytes).toBe(Math.min(minor, newestMinor) >= 2 ? 32 : 4)
    expect(greeting.parameters.get('server_version')).toMatch(new RegExp(`^${version}\\b`))
    expect((await dialogue.query('SELECT 1, NULL')).rows).toEqual([['1', null]])
    dialogue.close()
  })

  it('a verifier of ours lets the right password in and no other', async () => {
    const verifier = createVerifier('pässwörd', { salt: new Uint8Array(16).fill(3) })
    await admin.query(`ALTER ROLE ${role} PASSWORD ${quoted(verifier)}`)
    const as = new URL(url)
    as.username = role
    as.password = 'pässwörd'
    const { dialogue } = await Dialogue.open(as.href, 0)
    expect((await dialogue.query('SELECT current_user')).rows).toEqual([[role]])
    dialogue.close()
    as.password = 'passwörd'
    await expect(Dialogue.open(as.href, 0)).rejects.toThrow('password authentication failed')
  })

  it('any password gives the verifier that the server makes of it', async () => {
    const codePoint = fc.oneof(
      fc.integer({ min: 1, max: 0x7f }),
      fc.integer({ min: 0x80, max: 0x7ff }),
      fc.constantFrom(
        0xa0,
        0xad,
        0xaa,
        0x200b,
        0x2168,
        0x627,
        0x5d0,
        0x3000,
        0xfb01,
        0x221,
        0xfeff,
      ),
      fc.integer({ min: 0x800, max: 0x10_ffff }),
    )
    const password = fc
      .array(codePoint, { minLength: 1, maxLength: 6 })
      .map((codes) => codes.filter((code) => code < 0xd800 || code > 0xdfff))
      .filter((codes) => codes.length > 0)
      .map((codes) => String.fromCodePoint(...codes))
    await fc.assert(
      fc.asyncProperty(password, async (text) => {
        await admin.query(`ALTER ROLE ${role} PASSWORD ${quoted(text)}`)
        const sql = `SELECT rolpassword FROM pg_authid WHERE rolname = '${role}'`
        const [[stored = null] = []] = (await admin.query(sql)).rows
        const verifier = parseVerifier(stored ?? '')
        expect(verifier && createVerifier(text, verifier)).toBe(stored)
      }),
      { numRuns: 150 },
    )
  })

  it('integers and uuids are read as the server reads them', async () => {
    const oldSyntax = version < 16 // neither 0x… nor underscores
    const integerPart = fc.constantFrom('0', '7', '19', ' ', '-', '+', '_', 'x', 'o', 'b', 'F', '.')
    const hexPart = fc.constantFrom('a0ee', 'bc99', '-', '0', '{', '}', ' ', 'g')
    const spelled = fc.tuple(
      fc.array(integerPart, { maxLength: 6 }).map((parts) => parts.join('')),
      fc.constantFrom('', '-', '{', ' ', 'a'),
      fc.array(fc.constantFrom('a0ee', 'BC99-', '0011'), { minLength: 7, maxLength: 9 }),
      fc.oneof(fc.constantFrom('', '}', '-'), hexPart),
    )
    await fc.assert(
      fc.asyncProperty(spelled, async ([integer, before, groups, after]) => {
        const uuid = before + groups.join('') + after
        const asInteger = await admin.query(`SELECT ${quoted(integer)}::bigint`)
        const ours = int8FromText(Buffer.from(integer))
        const isNewSyntax = oldSyntax && /[_xob]/.test(integer)
        const theirs = isNewSyntax ? ours?.toString() : asInteger.rows[0]?.[0]
        expect(ours?.toString()).toBe(theirs)
        const asUuid = await admin.query(`SELECT replace((${quoted(uuid)}::uuid)::text, '-', '')`)
        const bytes = uuidFromText(Buffer.from(uuid))
        const hex = bytes === undefined ? undefined : Buffer.from(bytes).toString('hex')
        expect(hex).toBe(asUuid.rows[0]?.[0])
      }),
      { numRuns: 300 },
    )
  })
})
