// `${NAME}` in a configuration file.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Config } from '../../config/config.ts'
import { configOf, oneShard, problemsOf, users } from './files.ts'

describe('values from the environment', () => {
  const file = (written: string) => oneShard.replace('secret', () => written)
  const passwordOf = (config: Config) => {
    const secret = config.users[0]?.secret
    return secret?.kind === 'password' ? secret.password : undefined
  }

  it.each(['${PW}', '"${PW}"', "'${PW}'", '${NOT_SET:-x}', '${EMPTY:-x}', 'a${PW}b${PW}'])(
    'stand in flow mappings: %s',
    (written) => {
      const config = configOf(file(written), { PW: 'x', EMPTY: '' })
      expect(passwordOf(config)).toBe(written.startsWith('a') ? 'axbx' : 'x')
    },
  )

  it('are never read as YAML, whatever they contain', () => {
    const text = fc.string({ minLength: 1, unit: 'binary' })
    const awkward = fc.constantFrom(
      'a: b',
      '"',
      "'",
      '}',
      '${X}',
      '#',
      ' ',
      '\n',
      '- x',
      '123',
      '*a',
    )
    fc.assert(
      fc.property(fc.oneof(text, awkward), (value) => {
        expect(passwordOf(configOf(file('${PW}'), { PW: value }))).toBe(value)
      }),
    )
  })

  it('are read as numbers and switches where these are wanted', () => {
    const text = `listen: { port: \${PORT} }\n${oneShard.replace('}]', ', admin: ${ADMIN} }]')}`
    const config = configOf(text, { PORT: '7000', ADMIN: 'true' })
    expect([config.listen.port, config.users[0]?.admin]).toEqual([7000, true])
  })

  it('give a literal brace by $${', () => {
    expect(passwordOf(configOf(file('"$${PW}"'), { PW: 'x' }))).toBe('${PW}')
  })

  it('are not looked up in comments', () => {
    expect(problemsOf(`# \${NOT_SET}\n${oneShard} # \${NOT_SET}`)).toEqual([])
  })

  it('are reported where they are not set, once, and nothing else about that value', () => {
    expect(problemsOf(file('${NOT_SET}'))).toEqual([
      'f.yaml:1:32  users[0].password: environment variable "NOT_SET" is not set; ' +
        'set it, or give a default: ${NOT_SET:-…}',
    ])
  })

  it('do not shift the columns of what follows', () => {
    const text = 'users: [{ name: app, password: ${PW}, amdin: true }]'
    expect(
      problemsOf(`${text}\n${oneShard.replace(users, '')}`, { PW: 'much longer than that' }),
    ).toEqual(['f.yaml:1:39  users[0].amdin: unknown setting "amdin"; did you mean "admin"?'])
  })
})
