// A pg_hba.conf as rules (PostgreSQL manual, "The pg_hba.conf File"): what we can do is done as PostgreSQL does it,
// everything else is refused by name and line. Keywords lose their meaning in quotes, as there.
import { isIP } from 'node:net'
import type { AuthMethod, AuthRuleOptions, DatabaseMatch, NetworkOptions } from './auth-rules.ts'

/** What is wrong with the file: `line 3: …`. */
export class HbaFileError extends Error {}

/** One word of a line; commas separate words of one field. */
type Word = { readonly text: string; readonly quoted: boolean }
type Field = readonly Word[]

const types = ['local', 'host', 'hostssl', 'hostnossl'] as const
const methods: ReadonlyMap<string, AuthMethod> = new Map([
  ['trust', 'trust'],
  ['reject', 'reject'],
  ['md5', 'md5'],
  ['scram-sha-256', 'scram'],
  ['password', 'plain'],
  ['cert', 'cert'],
])

/** Its rules in their order. @throws HbaFileError */
export function parseHbaFile(text: string): readonly AuthRuleOptions[] {
  const rules: AuthRuleOptions[] = []
  const lines = text.split(/\r?\n/)
  for (let at = 0; at < lines.length; at += 1) {
    const first = at
    let line = lines[at] ?? ''
    // A line that ends with a backslash goes on with the next one.
    while (line.endsWith('\\') && at + 1 < lines.length) {
      at += 1
      line = line.slice(0, -1) + (lines[at] ?? '')
    }
    try {
      const fields = fieldsOf(line)
      if (fields.length > 0) rules.push(ruleOf(fields))
    } catch (error) {
      if (!(error instanceof HbaFileError)) throw error
      throw new HbaFileError(`line ${first + 1}: ${error.message}`)
    }
  }
  return rules
}

/**
 * Fields are separated by blanks, words of a field by commas; blanks may stand behind a comma. Before one PostgreSQL sees the end
 * of the field and PgBouncer does not.
 */
function fieldsOf(line: string): readonly Field[] {
  const fields: Word[][] = []
  let goesOn = false
  let at = 0
  while (at < line.length) {
    const char = line[at] ?? ''
    if (char === '#') break
    if (char === ',') {
      if (fields.length === 0) throw new HbaFileError('begins with a comma')
      if (isBlank(line[at - 1])) throw unsupported(' ,', 'write no blank before a comma')
      goesOn = true
      at += 1
    } else if (isBlank(char)) at += 1
    else {
      const found = /^(?:"(?:[^"]|"")*"|[^ \t\r",#])+/.exec(line.slice(at))?.[0] ?? ''
      if (found === '') throw new HbaFileError('a quoted name does not end')
      const joined = goesOn || (line[at - 1] === ',' && fields.length > 0)
      const word = { text: unquoted(found), quoted: found.startsWith('"') }
      if (joined) fields.at(-1)?.push(word)
      else fields.push([word])
      goesOn = false
      at += found.length
    }
  }
  return fields
}

const isBlank = (char: string | undefined) => char === ' ' || char === '\t' || char === '\r'

/** Quotes may begin anywhere in a word; in them a doubled one stands for itself. */
function unquoted(word: string): string {
  return word.replaceAll(/"((?:[^"]|"")*)"/g, (_, text: string) => text.replaceAll('""', '"'))
}

function ruleOf([type, database, user, ...rest]: readonly Field[]): AuthRuleOptions {
  const kind = typeOf(oneWord(type, 'a connection type'))
  const databases = namesOf(database, aDatabase)
  const users = namesOf(user, 'a user')
  const [address, behind] = kind === 'local' ? [null, rest] : addressOf(rest)
  const [method, ...options] = behind
  return {
    type: kind,
    database: databases === null ? null : databases.map(databaseOf),
    user: users === null ? null : users.map(userOf),
    address,
    ...methodOf(oneWord(method, 'a method'), options),
  }
}

function typeOf({ text }: Word): NonNullable<AuthRuleOptions['type']> {
  const known = types.find((type) => type === text)
  if (known !== undefined) return known
  // Encryption by GSSAPI is always declined: nothing has it.
  if (text === 'hostnogssenc') return 'host'
  if (text === 'hostgssenc') throw unsupported('hostgssenc', 'GSSAPI encryption is declined')
  if (text.startsWith('include')) throw unsupported(text, 'write the rules into this file')
  throw new HbaFileError(`unknown connection type "${text}"`)
}

const isKeywordIn = (field: Field, keyword: string) =>
  field.some(({ text, quoted }) => !quoted && text === keyword)

const aDatabase = 'a database'

/** Null: all. */
function namesOf(field: Field | undefined, what: string): readonly Word[] | null {
  if (field === undefined) throw new HbaFileError(`ends before ${what}`)
  // Physical replication is not a part of all databases.
  const beside = what === aDatabase && isKeywordIn(field, 'replication')
  if (isKeywordIn(field, 'all') && !beside) return null
  for (const { text, quoted } of field) {
    // In quotes, too: those are for what its commas and blanks would end.
    if (text.startsWith('/')) throw unsupported(text, 'regular expressions are not read')
    if (quoted) continue
    if (text.startsWith('@')) throw unsupported(text, 'write the names into this file')
    if (text.startsWith('+')) throw unsupported(text, 'members of roles are not known')
  }
  return field
}

function databaseOf({ text, quoted }: Word): DatabaseMatch {
  if (quoted) return text
  if (text === 'all' || text === 'sameuser' || text === 'replication') return { special: text }
  if (text === 'samerole' || text === 'samegroup') {
    throw unsupported(text, 'members of roles are not known')
  }
  return text
}

function userOf({ text }: Word): string {
  return text
}

/** Null: all. The fields behind it come along. */
function addressOf([first, ...rest]: readonly Field[]): [NetworkOptions | null, readonly Field[]] {
  const { text, quoted } = oneWord(first, 'an address')
  if (!quoted && text === 'all') return [null, rest]
  if (!quoted && (text === 'samehost' || text === 'samenet')) return [{ family: text }, rest]
  const [address = '', bits, ...more] = text.split('/')
  const version = isIP(address)
  if (version === 0 || more.length > 0) {
    throw unsupported(text, 'host names are not looked up: write an address')
  }
  const family = version === 4 ? 'ipv4' : 'ipv6'
  if (bits !== undefined) {
    const prefixBits = /^\d{1,3}$/.test(bits) ? Number(bits) : Number.NaN
    if (!(prefixBits <= (version === 4 ? 32 : 128))) {
      throw new HbaFileError(`invalid CIDR mask in address "${text}"`)
    }
    return [{ family, address, prefixBits }, rest]
  }
  const [mask, ...behind] = rest
  const maskText = oneWord(mask, 'the address’s mask').text
  if (isIP(maskText) !== version) throw new HbaFileError(`invalid IP mask "${maskText}"`)
  return [{ family, address, prefixBits: bitsOfMask(maskText) }, behind]
}

function bitsOfMask(mask: string): number {
  const bits = mask.includes(':') ? ipv6Bits(mask) : ipv4Bits(mask)
  if (/01/.test(bits)) throw new HbaFileError(`IP mask "${mask}" has holes`)
  return bits.replaceAll('0', '').length
}

function ipv4Bits(mask: string): string {
  return mask
    .split('.')
    .map((part) => Number(part).toString(2).padStart(8, '0'))
    .join('')
}

function ipv6Bits(mask: string): string {
  if (mask.includes('.')) throw unsupported(mask, 'write it in hexadecimal, or as CIDR')
  const [head = '', tail = ''] = mask.split('::')
  const groups = (text: string) => text.split(':').filter((group) => group !== '')
  const [left, right] = [groups(head), groups(tail)]
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right]
    .map((group) => Number.parseInt(group, 16).toString(2).padStart(16, '0'))
    .join('')
}

function methodOf(
  { text }: Word,
  options: readonly Field[],
): Pick<AuthRuleOptions, 'method' | 'map'> {
  const method = methods.get(text)
  if (method === undefined) {
    throw unsupported(text, `the methods are ${[...methods.keys()].join(', ')}`)
  }
  const names = options.map((option) => option.map(({ text: word }) => word).join(','))
  const isMap = (name: string) => method === 'cert' && name.startsWith('map=')
  const unknown = names.find((name) => !isMap(name))
  if (unknown !== undefined) {
    throw unsupported(`option ${unknown}`, `${text} takes ${method === 'cert' ? 'map=' : 'none'}`)
  }
  const map = names.at(-1)?.slice('map='.length)
  return map === undefined ? { method } : { method, map }
}

function oneWord(field: Field | undefined, what: string): Word {
  const [word, ...more] = field ?? []
  if (word === undefined) throw new HbaFileError(`ends before ${what}`)
  if (more.length > 0) throw new HbaFileError(`expected ${what}, found a list`)
  return word
}

function unsupported(what: string, because: string): HbaFileError {
  return new HbaFileError(`"${what}" is not supported: ${because}`)
}
