// The three ways in which PostgreSQL writes its log, taken apart into records: stderr with any log_line_prefix, csvlog
// and jsonlog (manual, 19.8). What a record says is log-statements.ts's business.

/** One message of the log. */
export type LogRecord = {
  /** What tells sessions apart; empty when the prefix has nothing of the kind. */
  readonly session: string
  /** Null when the format or the prefix does not tell. */
  readonly database: string | null
  readonly message: string
}

type Lines = AsyncIterable<string>

const severity =
  /^(.*?)\b(DEBUG[1-5]?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION): {2}(.*)$/

/** Messages of severity LOG; lines that continue one begin with a tab. */
export async function* stderrRecords(lines: Lines): AsyncGenerator<LogRecord> {
  let open: { readonly session: string; readonly lines: string[] } | null = null
  const closed = () => {
    return open === null
      ? []
      : [{ session: open.session, database: null, message: open.lines.join('\n') }]
  }
  for await (const line of lines) {
    if (line.startsWith('\t')) {
      open?.lines.push(line.slice(1))
      continue
    }
    const [, prefix = '', level, text = ''] = severity.exec(line) ?? []
    yield* closed()
    open = level === 'LOG' ? { session: sessionOf(prefix), lines: [text] } : null
  }
  yield* closed()
}

/** The process id: in brackets as %m [%p] has it, else the last number that stands alone. */
function sessionOf(prefix: string): string {
  const bracketed = /\[(\d+)(?:-\d+)?\]/.exec(prefix)?.[1]
  if (bracketed !== undefined) return bracketed
  const alone = [...prefix.matchAll(/(?<![\d.:,/-])\d{2,7}(?![\d.:,/]|-\d)/g)].at(-1)
  return alone?.[0] ?? ''
}

const csvField = { database: 2, process: 3, severity: 11, message: 13 }

/** Rows of csvlog; a quoted value may have line feeds. */
export async function* csvRecords(lines: Lines): AsyncGenerator<LogRecord> {
  let record = ''
  let quotes = 0
  for await (const line of lines) {
    record = quotes % 2 === 0 ? line : `${record}\n${line}`
    quotes = (quotes % 2) + line.split('"').length - 1
    if (quotes % 2 === 1) continue
    const fields = csvFields(record)
    if (fields[csvField.severity] !== 'LOG') continue
    yield {
      session: fields[csvField.process] ?? '',
      database: fields[csvField.database] ?? null,
      message: fields[csvField.message] ?? '',
    }
  }
}

function csvFields(record: string): readonly string[] {
  const fields = record.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)
  return [...fields].map(([, quoted, plain = '']) => quoted?.replaceAll('""', '"') ?? plain)
}

/** Objects of jsonlog, one a line; a line that is none is passed over. */
export async function* jsonRecords(lines: Lines): AsyncGenerator<LogRecord> {
  for await (const line of lines) {
    const parsed = parsedJson(line)
    if (typeof parsed !== 'object' || parsed === null) continue
    const textOf = (name: string) => {
      const value: unknown = Reflect.get(parsed, name)
      return typeof value === 'string' || typeof value === 'number' ? `${value}` : null
    }
    if (textOf('error_severity') !== 'LOG') continue
    const [session, message] = [textOf('pid') ?? '', textOf('message') ?? '']
    yield { session, database: textOf('dbname'), message }
  }
}

function parsedJson(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return null
  }
}
