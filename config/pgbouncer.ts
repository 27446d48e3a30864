// Reads what PgBouncer is configured by: pgbouncer.ini with the files that it includes, and userlist.txt. Its own rules:
// pgbouncer.org/config.html, "File format" and "Authentication file format". What the settings mean is not decided here.

/** One `name = value`; `place` as `pgbouncer.ini:12`. */
export type IniEntry = { readonly name: string; readonly value: string; readonly place: string }

/** Sections by their names in lower case, entries in their order. */
export type IniFile = ReadonlyMap<string, readonly IniEntry[]>

/** Gives the text of an included file, whose name is as it stands in the including one. */
export type ReadInclude = (file: string) => Promise<string>

/** A user of userlist.txt; the secret as it stands there. */
export type ListedUser = { readonly name: string; readonly secret: string }

/** PgBouncer itself goes no deeper. */
const includeDepthMax = 10

/** @throws Error naming the line that cannot be read */
export async function parseIni(text: string, file: string, read: ReadInclude): Promise<IniFile> {
  const sections = new Map<string, IniEntry[]>()
  let section = ''
  const parse = async (content: string, name: string, depth: number): Promise<void> => {
    for (const [index, raw] of content.split(/\r?\n/).entries()) {
      const line = raw.trim()
      const place = `${name}:${index + 1}`
      if (line === '' || line.startsWith(';') || line.startsWith('#')) continue
      const [, included] = /^%include\s+(.+)$/.exec(line) ?? []
      const [, title] = /^\[([^\]]+)\]$/.exec(line) ?? []
      const [, key, value] = /^([^=\s][^=]*?)\s*=\s*(.*)$/.exec(line) ?? []
      if (included !== undefined) {
        if (depth >= includeDepthMax)
          throw new Error(`${place}: files include each other too deeply`)
        await parse(await read(included), included, depth + 1)
      } else if (title !== undefined) {
        section = title.trim().toLowerCase()
        sections.set(section, sections.get(section) ?? [])
      } else if (key !== undefined && value !== undefined && section !== '') {
        sections.get(section)?.push({ name: unquotedName(key), value, place })
      } else {
        throw new Error(`${place}: expected "name = value", "[section]" or "%include file"`)
      }
    }
  }
  await parse(text, file, 0)
  return sections
}

/** `host=… port=…` of a database; a value with blanks stands in single quotes. @throws Error at what is none */
export function parseConnection({ value, place }: IniEntry): ReadonlyMap<string, string> {
  const found = new Map<string, string>()
  const pattern = /\s*(\w+)\s*=\s*(?:'((?:[^']|'')*)'|(\S*))\s*/y
  while (pattern.lastIndex < value.length) {
    const [, name, quoted, plain = ''] = pattern.exec(value) ?? []
    if (name === undefined) throw new Error(`${place}: expected "name=value" in "${value}"`)
    found.set(name, quoted?.replaceAll("''", "'") ?? plain)
  }
  return found
}

/** Lines of `"name" "secret"`; anything else is passed over, as PgBouncer does. */
export function parseUserList(text: string): readonly ListedUser[] {
  const lines = text.matchAll(/^\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"/gm)
  return [...lines].map(([, name = '', secret = '']) => {
    return { name: name.replaceAll('""', '"'), secret: secret.replaceAll('""', '"') }
  })
}

function unquotedName(name: string): string {
  const [, quoted] = /^"((?:[^"]|"")*)"$/.exec(name) ?? []
  return quoted?.replaceAll('""', '"') ?? name
}
