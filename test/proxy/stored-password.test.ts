// What is stored of a password, and what is let in by it.
import { describe, expect, it } from 'vitest'
import { StoredPassword } from '../../proxy/stored-password.ts'
import { createVerifier, mockVerifier } from '../../wire/scram-keys.ts'

const mock = mockVerifier('anna', Buffer.alloc(32))
const salt = Buffer.from('0123456789abcdef')
const verifier = createVerifier('pencil', { salt })

describe('a stored password', () => {
  it.each([
    ['a verifier', verifier, 'pencil', true],
    ['a verifier, shown as the password', verifier, verifier, false],
    ['plain text', 'pencil', 'pencil', true],
    ['nothing', '', '', false],
  ])('that is %s', async (_what, stored, password, fits) => {
    expect(await StoredPassword.read(stored, mock).fits('anna', password)).toBe(fits)
  })

  it.each([
    ['of more iterations than any server has', verifier.replace('$4096:', '$9999999999:')],
    ['of more iterations than we compute', verifier.replace('$4096:', '$2000000:')],
    ['without iterations', verifier.replace('$4096:', '$0:')],
    ['that was cut', verifier.slice(0, -3)],
    ['with a salt that is none', verifier.replace(/:[^$]*\$/, ':%$')],
  ])('that is a verifier %s is nobody’s password', async (_what, stored) => {
    const known = StoredPassword.read(stored, mock)
    expect(await known.fits('anna', stored)).toBe(false)
    expect(await known.fits('anna', 'pencil')).toBe(false)
    expect(known.password).toBeNull()
  })

  it('may be a verifier of many iterations: the client has the work', () => {
    const { scram } = StoredPassword.read(verifier.replace('$4096:', '$2147483647:'), mock)
    expect(scram.iterations).toBe(2_147_483_647)
  })
})
