// Rules for logins: which one decides, and what of a pg_hba.conf is read or refused.
import * as fc from 'fast-check'
import { networkInterfaces } from 'node:os'
import { describe, expect, it } from 'vitest'
import { type AuthRuleOptions, AuthRules, type Origin, type Wish } from '../../proxy/auth-rules.ts'
import { HbaFileError, parseHbaFile } from '../../proxy/hba-file.ts'

const wish = (user: string, database: string, replication = false): Wish => {
  return { user, database, replication }
}
const tcp = (address: string, encrypted = false): Origin => ({ address, encrypted })
const unix: Origin = { address: '', encrypted: false }

function thrownBy(run: () => void): unknown {
  try {
    run()
    return null
  } catch (error) {
    return error
  }
}

describe('a pg_hba.conf', () => {
  const text = `
# TYPE  DATABASE  USER  ADDRESS  METHOD
local   all       all                       trust
host    app,"all" anna, bert  10.0.0.0/8    md5      # both
host    sameuser  all   192.168.1.0  255.255.255.0  password
hostssl all       carol ::1/128             scram-sha-256
hostnossl all     carol all                 reject
host    replication dora 127.0.0.1/32       scram-sha-256
host    "replication" dora 127.0.0.1/32     trust
host    app       dora  127.0.0.0/8         \\
        md5
hostnogssenc last all samehost              trust
`
  const rules = new AuthRules(parseHbaFile(text))

  it.each([
    ['a Unix socket', wish('x', 'y'), unix, 'trust'],
    ['a Unix socket, physical replication', wish('x', '', true), unix, 'reject'],
    ['an address in the network', wish('anna', 'app'), tcp('10.255.0.1'), 'md5'],
    ['the second of a list', wish('bert', 'app'), tcp('10.1.2.3'), 'md5'],
    ['a keyword in quotes is a name', wish('anna', 'all'), tcp('10.1.2.3'), 'md5'],
    ['an IPv4 peer of an IPv6 socket', wish('anna', 'app'), tcp('::ffff:10.1.2.3'), 'md5'],
    ['an address beside the network', wish('anna', 'app'), tcp('11.0.0.1'), 'reject'],
    ['another database', wish('anna', 'apple'), tcp('10.1.2.3'), 'reject'],
    ['the case of a name counts', wish('Anna', 'app'), tcp('10.1.2.3'), 'reject'],
    ['the database of one’s own name', wish('eve', 'eve'), tcp('192.168.1.77'), 'plain'],
    ['somebody else’s database', wish('eve', 'anna'), tcp('192.168.1.77'), 'reject'],
    ['beside a mask', wish('eve', 'eve'), tcp('192.168.2.77'), 'reject'],
    ['TLS', wish('carol', 'x'), tcp('::1', true), 'scram'],
    ['no TLS', wish('carol', 'x'), tcp('::1'), 'reject'],
    ['physical replication', wish('dora', '', true), tcp('127.0.0.1'), 'scram'],
    ['a database called replication', wish('dora', 'replication'), tcp('127.0.0.1'), 'trust'],
    ['a line that goes on', wish('dora', 'app'), tcp('127.9.9.9'), 'md5'],
    ['this machine', wish('x', 'last'), tcp('127.0.0.1'), 'trust'],
    ['another machine', wish('x', 'last'), tcp('203.0.113.9'), 'reject'],
    ['an address with a zone', wish('carol', 'x'), tcp('fe80::1%eth0'), 'reject'],
  ])('decides: %s', (_what, asked, origin, method) => {
    expect(rules.methodFor(asked, origin)).toBe(method)
  })

  it.each([
    ['host all all 10.0.0.0/8 gss', '"gss" is not supported'],
    ['host all all 10.0.0.0/8 ldap ldapserver=x', '"ldap" is not supported'],
    ['local all all peer', '"peer" is not supported'],
    ['host all all 10.0.0.0/8 scram-sha-256 map=x', '"option map=x" is not supported'],
    ['host all +staff 10.0.0.0/8 md5', '"+staff" is not supported'],
    ['host all /^a 10.0.0.0/8 md5', '"/^a" is not supported'],
    // PostgreSQL reads it as one although it stands in quotes, as expressions with a comma must.
    ['host "/^s{1,2}$" all all reject', '"/^s{1,2}$" is not supported'],
    ['host @list all 10.0.0.0/8 md5', '"@list" is not supported'],
    ['host samerole all 10.0.0.0/8 md5', '"samerole" is not supported'],
    ['host all all db.example.com md5', '"db.example.com" is not supported'],
    ['include other.conf', '"include" is not supported'],
    ['hostgssenc all all all md5', '"hostgssenc" is not supported'],
    ['host all all 10.0.0.0/33 md5', 'invalid CIDR mask'],
    ['host all all 10.0.0.0 255.0.255.0 md5', 'has holes'],
    ['host all all 10.0.0.0 md5', 'invalid IP mask "md5"'],
    ['host all all 10.0.0.0/8', 'ends before a method'],
    ['host all', 'ends before a user'],
    ['host all all', 'ends before an address'],
    ['local all all', 'ends before a method'],
    ['hosts all all all md5', 'unknown connection type "hosts"'],
    ['host all "all 10.0.0.0/8 md5', 'does not end'],
    [',host all all all md5', 'begins with a comma'],
    // PostgreSQL's field ends at the blank, PgBouncer's goes on.
    ['host a ,b all all md5', 'no blank before a comma'],
    ['host\u00a0all all all md5', 'unknown connection type'],
    ['host,local all all all md5', 'expected a connection type, found a list'],
  ])('is refused with its line: %s', (line, words) => {
    expect(() => parseHbaFile(`# first\n\nlocal all all trust\n${line}\n`)).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^line 4: /) }),
    )
    expect(() => parseHbaFile(line)).toThrow(words)
  })

  it('takes masks of IPv6, and blanks behind commas', () => {
    const [rule] = parseHbaFile('host a, b,c all fe80:: ffff:ffff:: md5')
    expect(rule).toEqual({
      type: 'host',
      database: ['a', 'b', 'c'],
      user: null,
      address: { family: 'ipv6', address: 'fe80::', prefixBits: 32 },
      method: 'md5',
    })
  })

  it.each([
    ['"a""b"', 'a"b', 'md5'],
    ['"a""b"', 'ab', 'reject'],
    ['"all"', 'app', 'reject'],
    ['a"l"l', 'app', 'md5'],
    ['a"b c"d', 'ab cd', 'md5'],
  ])('reads quotes as PostgreSQL does: %s', (field, database, method) => {
    const quoting = new AuthRules(parseHbaFile(`host ${field} all all md5`))
    expect(quoting.methodFor(wish('u', database), tcp('10.0.0.1'))).toBe(method)
  })

  it('knows physical replication beside all', () => {
    const both = new AuthRules(parseHbaFile('host all,replication all,replication all md5'))
    expect(both.methodFor(wish('u', 'app'), tcp('10.0.0.1'))).toBe('md5')
    expect(both.methodFor(wish('u', '', true), tcp('10.0.0.1'))).toBe('md5')
  })

  it.each([
    ['::/0', '10.1.2.3', 'reject'],
    ['::/0', '::ffff:10.1.2.3', 'reject'],
    ['::/0', '2001:db8::1', 'md5'],
    ['0.0.0.0/0', '::1', 'reject'],
    ['0.0.0.0/0', '::ffff:10.1.2.3', 'md5'],
    ['::ffff:10.0.0.0/104', '::ffff:10.1.2.3', 'md5'],
    ['::ffff:10.0.0.0/104', '11.1.2.3', 'reject'],
    ['::ffff:10.0.0.0/64', '10.1.2.3', 'reject'],
  ])('keeps the two kinds of addresses apart: %s and %s', (network, address, method) => {
    const apart = new AuthRules(parseHbaFile(`host all all ${network} md5`))
    expect(apart.methodFor(wish('u', 'app'), tcp(address))).toBe(method)
  })

  it('of any text at all is read, or refused as such', () => {
    const words =
      'host local all " , # / @ + trust x=y ffff:: md5 10.0.0.0/8 ::1/128 255.0.0.0 \\'.split(' ')
    const word = fc.constantFrom('\n', '\\\n', '\t', ...words)
    const line = fc.array(fc.oneof(word, fc.string()), { maxLength: 12 })
    fc.assert(
      fc.property(line, (written) => {
        const thrown = thrownBy(() => {
          new AuthRules(parseHbaFile(written.join(' '))).methodFor(wish('a', 'b'), tcp('10.0.0.1'))
        })
        expect(thrown === null || thrown instanceof HbaFileError).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('rules', () => {
  const everybody: AuthRuleOptions = { database: null, user: null, address: null, method: 'scram' }

  it('for a database are for all of its names', () => {
    const ofApp = { ...everybody, database: ['app'], method: 'reject' } as const
    const ofAlias = { ...everybody, database: ['alias'], method: 'md5' } as const
    const realNameOf = (name: string) => (name === 'alias' ? 'app' : name)
    const methods = (rules: readonly AuthRuleOptions[]) =>
      ['app', 'alias', 'other'].map((name) =>
        new AuthRules([...rules, everybody], realNameOf).methodFor(wish('u', name), unix),
      )
    expect(methods([ofApp])).toEqual(['reject', 'reject', 'scram'])
    expect(methods([ofAlias, ofApp])).toEqual(['reject', 'md5', 'scram'])
  })

  it('let nobody in when there are none', () => {
    expect(new AuthRules([]).methodFor(wish('a', 'b'), unix)).toBe('reject')
  })

  it('for networks of this machine know its interfaces', () => {
    const addresses = Object.values(networkInterfaces()).flatMap((each) => each ?? [])
    expect(addresses.length).toBeGreaterThan(0)
    for (const family of ['samehost', 'samenet'] as const) {
      const rules = new AuthRules([{ ...everybody, address: { family } }])
      for (const { address } of addresses) {
        expect(rules.methodFor(wish('a', 'b'), tcp(address))).toBe('scram')
      }
      expect(rules.methodFor(wish('a', 'b'), tcp('203.0.113.9'))).toBe('reject')
      expect(rules.methodFor(wish('a', 'b'), unix)).toBe('reject')
    }
  })

  it('without a type are for Unix sockets, too', () => {
    expect(new AuthRules([everybody]).methodFor(wish('a', 'b'), unix)).toBe('scram')
    const host: AuthRuleOptions = { ...everybody, type: 'host' }
    expect(new AuthRules([host]).methodFor(wish('a', 'b'), unix)).toBe('reject')
  })
})
