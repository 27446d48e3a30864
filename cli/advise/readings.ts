// pg_stat_statements puts $1 also where the grammar takes constants only (interval $1, FETCH, SET …): the ways in which
// such a text can be read.

const typed = /\b(interval|date|time|timestamp|timestamptz|bit|point|box)\s+\$\d+/gi
const any = /()\$\d+/g
/** What PostgreSQL 18 makes of a list of constants, so that lists of all lengths are one statement. */
const shortened = /(\$\d+) \/\*, \.\.\. \*\//g

/** The text itself, then with constants behind types, then with constants everywhere. */
export function readings(text: string): readonly string[] {
  const sql = text.replaceAll(shortened, '$1, $$9999')
  return [...new Set([sql, withConstants(sql, typed), withConstants(sql, any)])]
}

/** Each one another text, so that two keys stay two. */
function withConstants(sql: string, parameters: RegExp): string {
  return sql.replaceAll(parameters, (all: string, type: string) => {
    const number = /\d+$/.exec(all)?.[0] ?? '1'
    return `${type} '${number}'`
  })
}
