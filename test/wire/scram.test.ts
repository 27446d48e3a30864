// SCRAM-SHA-256 and md5: the RFC's own exchange, our client against our server, SASLprep of passwords.
import { createHash } from 'node:crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { md5Password, verifyMd5 } from '../../wire/md5.ts'
import { saslprep } from '../../wire/saslprep.ts'
import {
  type ClientBinding,
  ScramClient,
  ScramServer,
  scramPlain,
  scramPlus,
} from '../../wire/scram.ts'
import {
  createVerifier,
  deriveKeys,
  mockVerifier,
  parseVerifier,
  type ScramVerifier,
} from '../../wire/scram-keys.ts'
import { sqlstateOf, textArbitrary } from './arbitraries.ts'

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
const clientNonce = 'rOprNGfwEbeRWgbNEkqO'
const serverNonce = '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0'

/** RFC 7677, section 3: user "user", password "pencil". */
const rfc = {
  clientFirst: `n,,n=user,r=${clientNonce}`,
  serverFirst: `r=${clientNonce}${serverNonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`,
  clientFinal: `c=biws,r=${clientNonce}${serverNonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
  serverFinal: 'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
}

const verifierOf = (password: string, iterations = 4096): ScramVerifier => {
  const verifier = parseVerifier(createVerifier(password, { iterations, salt }))
  if (verifier === undefined) throw new Error('createVerifier gives what parseVerifier reads')
  return verifier
}

const logIn = (verifier: ScramVerifier, password: string) => {
  const client = new ScramClient(undefined, password, clientNonce)
  const server = new ScramServer(verifier, serverNonce)
  const serverFirst = server.first(client.first())
  const outcome = server.final(client.continue(serverFirst))
  return { ok: outcome.ok, verified: outcome.ok && client.verify(outcome.serverFinal) }
}

describe('SCRAM-SHA-256', () => {
  it('the client says what the client of RFC 7677 says', () => {
    const client = new ScramClient('user', 'pencil', clientNonce)
    expect(client.first()).toBe(rfc.clientFirst)
    expect(client.continue(rfc.serverFirst)).toBe(rfc.clientFinal)
    expect(client.verify(rfc.serverFinal)).toBe(true)
  })

  it('the server says what the server of RFC 7677 says', () => {
    const server = new ScramServer(verifierOf('pencil'), serverNonce)
    expect(server.first(rfc.clientFirst)).toBe(rfc.serverFirst)
    const outcome = server.final(rfc.clientFinal)
    expect(outcome).toMatchObject({ ok: true, serverFinal: rfc.serverFinal })
  })

  it('any password logs in, any other does not', () => {
    fc.assert(
      fc.property(textArbitrary, textArbitrary, (password, other) => {
        const verifier = verifierOf(password, 1)
        const right = logIn(verifier, password)
        expect([right.ok, right.verified]).toEqual([true, true])
        const same = saslprep(password) === saslprep(other)
        expect(logIn(verifier, other).ok).toBe(same)
      }),
      { numRuns: 50 },
    )
  })

  it('an unknown user gets the same salt every time, another than other users, and no login', () => {
    const secret = new Uint8Array(32).fill(5)
    const mock = mockVerifier('nobody', secret)
    expect(mock).toEqual(mockVerifier('nobody', secret))
    expect(mock.salt).not.toEqual(mockVerifier('noone', secret).salt)
    expect([mock.iterations, mock.salt.length]).toEqual([4096, 16])
    expect(logIn(mock, 'nobody')).toEqual({ ok: false, verified: false })
  })

  it('a server that does not know the verifier is not believed', () => {
    const client = new ScramClient('', 'pencil', clientNonce)
    client.continue(rfc.serverFirst)
    expect(client.verify('v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=')).toBe(false)
    expect(client.verify('e=invalid-proof')).toBe(false)
    expect(new ScramClient('', 'pencil', clientNonce).verify(rfc.serverFinal)).toBe(false)
  })

  it('a client that says y (over TLS, libpq does) has to repeat it under its proof', () => {
    const server = new ScramServer(verifierOf('pencil'), serverNonce)
    server.first(`y,,n=user,r=${clientNonce}`)
    expect(sqlstateOf(() => server.final(rfc.clientFinal))).toBe('08P01')
    const forged = new ScramServer(verifierOf('pencil'), serverNonce)
    forged.first(`y,,n=user,r=${clientNonce}`)
    expect(forged.final(rfc.clientFinal.replace('biws', 'eSws')).ok).toBe(false)
  })

  it.each([
    ['channel binding that it did not offer', 'p=tls-server-end-point,,n=,r=a'],
    ['an authorization identity', 'n,a=x,n=,r=a'],
    ['a mandatory extension', 'n,,m=x,n=,r=a'],
    ['an empty nonce', 'n,,n=,r='],
    ['a nonce that is not printable', 'n,,n=,r=a b\u0001'],
  ])('the server refuses %s', (_, clientFirst) => {
    const server = new ScramServer(verifierOf('pencil', 1), serverNonce)
    expect(sqlstateOf(() => server.first(clientFirst))).toBe('08P01')
  })

  it('a client that answers to another nonce is refused', () => {
    const server = new ScramServer(verifierOf('pencil'), serverNonce)
    server.first(rfc.clientFirst)
    const replayed = rfc.clientFinal.replace(serverNonce, 'another')
    expect(sqlstateOf(() => server.final(replayed))).toBe('08P01')
  })

  it('an exchange cannot be finished twice', () => {
    const server = new ScramServer(verifierOf('pencil'), serverNonce)
    server.first(rfc.clientFirst)
    server.final(rfc.clientFinal)
    expect(sqlstateOf(() => server.final(rfc.clientFinal))).toBe('08P01')
  })

  it.each([
    ['a nonce that is not ours', 'r=x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096'],
    ['no nonce of its own', `r=${clientNonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`],
    ['an iteration count that would take minutes', rfc.serverFirst.replace('4096', '999999999')],
    ['an iteration count of zero', rfc.serverFirst.replace('4096', '0')],
    ['a salt that is not base64', rfc.serverFirst.replace('W22', '!!!')],
  ])('the client refuses a server with %s', (_, serverFirst) => {
    const client = new ScramClient('', 'pencil', clientNonce)
    expect(sqlstateOf(() => client.continue(serverFirst))).toBe('08P01')
  })

  it.each([
    ['pencil'],
    ['SCRAM-SHA-256$0:c2FsdA==$AA==:AA=='],
    ['SCRAM-SHA-256$4096:c2FsdA==$AA==:AA=='],
    ['md5a1b2c3d4e5f60718293a4b5c6d7e8f90'],
  ])('%j is no verifier', (text) => {
    expect(parseVerifier(text)).toBeUndefined()
  })
})

describe('keys taken from a proof', () => {
  it('are those of the password, and log in where the same verifier is stored', () => {
    fc.assert(
      fc.property(textArbitrary, fc.uint8Array({ minLength: 1 }), (password, anySalt) => {
        const keys = deriveKeys(password, anySalt, 1)
        const verifier = parseVerifier(createVerifier(password, { iterations: 1, salt: anySalt }))
        if (verifier === undefined) throw new Error('createVerifier gives a verifier')
        const client = new ScramClient('', password, clientNonce)
        const server = new ScramServer(verifier, serverNonce)
        const outcome = server.final(client.continue(server.first(client.first())))
        expect(outcome).toMatchObject({ ok: true })
        if (!outcome.ok) return
        expect(Buffer.from(outcome.keys.clientKey)).toEqual(Buffer.from(keys.clientKey))

        const passedOn = new ScramClient('', () => outcome.keys, clientNonce)
        const behind = new ScramServer(verifier, 'other')
        const second = behind.final(passedOn.continue(behind.first(passedOn.first())))
        expect(second.ok && passedOn.verify(second.serverFinal)).toBe(true)
      }),
      { numRuns: 50 },
    )
  })
})

describe('SCRAM-SHA-256-PLUS', () => {
  const endPoint = Buffer.alloc(32, 7)
  const bound = { kind: 'bound', endPoint } as const
  const exchange = (
    client: ScramClient,
    offered: Uint8Array | null,
    mechanism = client.mechanism,
  ) => {
    const server = new ScramServer(verifierOf('pencil'), serverNonce, {
      mechanism,
      endPoint: offered,
    })
    const outcome = server.final(client.continue(server.first(client.first())))
    return outcome.ok && client.verify(outcome.serverFinal)
  }
  const clientOf = (binding: ClientBinding) =>
    new ScramClient('user', 'pencil', clientNonce, binding)

  it('logs in when both sides see the same certificate', () => {
    const client = clientOf(bound)
    expect(client.mechanism).toBe(scramPlus)
    expect(client.first()).toBe(`p=tls-server-end-point,,n=user,r=${clientNonce}`)
    expect(exchange(client, endPoint)).toBe(true)
  })

  it('refuses a client that has seen another certificate', () => {
    const other = clientOf({ kind: 'bound', endPoint: Buffer.alloc(32, 8) })
    expect(sqlstateOf(() => exchange(other, endPoint))).toBe('28000')
  })

  it('is not needed: a client that cannot bind says n', () => {
    expect(exchange(clientOf({ kind: 'never' }), endPoint)).toBe(true)
  })

  it('refuses a client from which the offer was hidden', () => {
    const client = clientOf({ kind: 'unoffered' })
    expect(client.first()).toBe(`y,,n=user,r=${clientNonce}`)
    expect(exchange(client, null)).toBe(true)
    expect(sqlstateOf(() => exchange(clientOf({ kind: 'unoffered' }), endPoint))).toBe('28000')
  })

  it.each([
    ['PLUS without binding data', scramPlus, `n,,n=,r=a`],
    ['PLUS of a client that thinks there is none', scramPlus, `y,,n=,r=a`],
    ['binding data without PLUS', 'SCRAM-SHA-256', `p=tls-server-end-point,,n=,r=a`],
    ['another kind of binding', scramPlus, `p=tls-exporter,,n=,r=a`],
    ['an empty kind of binding', scramPlus, `p=,,n=,r=a`],
  ] as const)('refuses %s', (_what, mechanism, first) => {
    const server = new ScramServer(verifierOf('pencil', 1), serverNonce, { mechanism, endPoint })
    expect(sqlstateOf(() => server.first(first))).toBe('08P01')
  })
})

describe('hostile SASL messages', () => {
  it('are refused with 08P01 or 28000, or prove nothing', () => {
    const words =
      'n y p= tls-server-end-point , ,, a=x n= r= r=abc c=biws ,p= c= m=1 = ü % AAAA'.split(' ')
    const parts = fc.constantFrom(serverNonce, `r=abc${serverNonce}`, '\u0000', ...words)
    const message = fc.oneof(
      fc.string(),
      fc.array(parts, { maxLength: 8 }).map((all) => all.join('')),
    )
    const mechanism = fc.constantFrom(scramPlain, scramPlus)
    const verifier = verifierOf('pencil', 1)
    fc.assert(
      fc.property(mechanism, fc.boolean(), message, message, (chosen, offers, first, final) => {
        const endPoint = offers ? Buffer.alloc(32) : null
        const server = new ScramServer(verifier, serverNonce, { mechanism: chosen, endPoint })
        for (const step of [
          () => server.first(first),
          () => expect(server.final(final).ok).toBe(false),
        ]) {
          const state = sqlstateOf(step)
          expect(['08P01', '28000', 'none']).toContain(state)
          if (state !== 'none') return
        }
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('SASLprep', () => {
  it.each([
    ['I\u00adX', 'IX', 'a soft hyphen vanishes (RFC 4013)'],
    ['user', 'user', 'ASCII stays'],
    ['\u00aa', 'a', 'compatibility characters are normalized (RFC 4013)'],
    ['\u2168', 'IX', 'Roman numeral nine (RFC 4013)'],
    ['a\u00a0b', 'a b', 'a no-break space becomes a space'],
    ['\u00e9\u0007', '\u00e9\u0007', 'prohibited: left as it is'],
    ['\u0627\u0031', '\u0627\u0031', 'right-to-left that ends otherwise: left as it is'],
    ['\u0627\u0031\u0628', '\u0627\u0031\u0628', 'right-to-left throughout'],
    ['\u0221\u2168', '\u0221\u2168', 'unassigned in Unicode 3.2: left as it is'],
    ['\u00ad', '\u00ad', 'nothing would be left: left as it is'],
  ])('%j becomes %j: %s', (password, prepared) => {
    expect(saslprep(password)).toBe(prepared)
  })

  it('looks at each character of a long password for a moment only', () => {
    const long = '\u{1d165}'.repeat(200_000)
    expect(saslprep(long)).toBe(long.normalize('NFKC'))
  })
})

describe('md5', () => {
  const md5Salt = new Uint8Array([1, 2, 3, 4])

  it('a right answer fits a plain and a hashed password, a wrong one neither', () => {
    const answer = md5Password('ann', 'secret', md5Salt)
    const hashed = `md5${createHash('md5').update('secretann').digest('hex')}`
    const other = `md5${createHash('md5').update('otherann').digest('hex')}`
    expect(verifyMd5('secret', { user: 'ann', salt: md5Salt, answer })).toBe(true)
    expect(verifyMd5('other', { user: 'ann', salt: md5Salt, answer })).toBe(false)
    expect(verifyMd5(hashed, { user: 'ann', salt: md5Salt, answer })).toBe(true)
    expect(verifyMd5(other, { user: 'ann', salt: md5Salt, answer })).toBe(false)
    expect(verifyMd5('secret', { user: 'bob', salt: md5Salt, answer })).toBe(false)
    expect(verifyMd5('secret', { user: 'ann', salt: md5Salt, answer: '' })).toBe(false)
  })
})
