// PgBouncer's userlist.txt: whatever a name or a password is made of is read back, and what is wrong has its line.
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseUserList, UserListError } from '../../proxy/user-list.ts'

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`

describe('a user list', () => {
  it('has a line for each user, comments, blanks, and whatever behind', () => {
    const text = `; made by hand
# as well

"anna" "pencil"
  "bert"\t"md5bd9b2f028f0da30651d603cf780feee9" "behind" is ignored
"carol ""the"" third" ""
"anna" "second"
`
    expect([...parseUserList(text)]).toEqual([
      ['anna', 'pencil'],
      ['bert', 'md5bd9b2f028f0da30651d603cf780feee9'],
      ['carol "the" third', ''],
    ])
  })

  it.each([
    ['anna pencil', 'expected "name" "password"'],
    ['"anna" pencil', 'expected "name" "password"'],
    ['"anna" "pencil', 'expected "name" "password"'],
    ['"anna""pencil"', 'expected "name" "password"'],
    ['"anna" "pencil""', 'expected "name" "password"'],
    ['"anna"', 'expected "name" "password"'],
    ['"" "pencil"', 'the name is empty'],
    ['"a\0b" "pencil"', 'zero byte'],
  ])('is refused with the line, without repeating it: %j', (line, words) => {
    const parse = () => parseUserList(`"x" "y"\r\n${line}\r\n`)
    expect(parse).toThrow(UserListError)
    expect(parse).toThrow(`line 2: `)
    expect(parse).toThrow(words)
    expect(parse).not.toThrow('pencil')
  })

  it('gives back every name and password that was written', () => {
    const text = fc
      .string({ unit: 'binary', maxLength: 12 })
      .map((each) => each.replaceAll(/[\0\r\n]/g, '"'))
    const name = text.filter((each) => each !== '')
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.tuple(name, text), { selector: ([each]) => each, maxLength: 5 }),
        (users) => {
          const lines = users.map(([user, password]) => `${quoted(user)} ${quoted(password)}`)
          expect([...parseUserList(lines.join('\n'))]).toEqual(users)
        },
      ),
    )
  })
})
