// DateStyle is two settings under one name: how dates are written, and in which order day and month are read. SET of one
// keeps the other, so that the last SET alone would mean something else on another server.
// Source: "DateStyle" in PostgreSQL's documentation of Client Connection Defaults; check_datestyle() of its variable.c.

const reset = 'RESET "datestyle"'
const separator = '\n;'
// Statements whose words are not understood are all kept, but not for ever.
const statementsMax = 16

const beginning =
  /^(?:SET\s+(?:SESSION\s+)?"?datestyle"?\s*(?:TO|=)|SELECT pg_catalog\.set_config\('datestyle',)/i
const ending = ', false)'
const plain = /^[\w'" ,]*$/
const style = /^(?:iso|sql|postgres\w*)$/
const order = /^(?:ymd|dmy|mdy|us|euro\w*|noneuro\w*)$/

/** SQL that puts `sql`, a SET of DateStyle, in force after `before`, whatever a server had before that. */
export function dateStyleAfter(before: string | undefined, sql: string): string {
  const kind = kindOf(sql)
  if (kind === 'both') return sql
  const kept = (before ?? reset)
    .split(separator)
    .filter((earlier) => earlier !== sql && (kind === 'unknown' || kindOf(earlier) !== kind))
  if (kept[0] !== reset && kindOf(kept[0] ?? '') !== 'both') kept.unshift(reset)
  if (kept.length >= statementsMax) kept.splice(1, 1)
  return [...kept, sql].join(separator)
}

/** What of the two it sets. */
function kindOf(sql: string): 'style' | 'order' | 'both' | 'unknown' {
  const words = valueOf(sql.trim()).toLowerCase().match(/\w+/g) ?? []
  const styled = words.some((word) => style.test(word))
  const ordered = words.some((word) => order.test(word))
  // German has an order of its own.
  const [only = ''] = words
  if (words.length === 1 && only.startsWith('german')) return 'both'
  if (words.length === 0 || words.some((word) => !style.test(word) && !order.test(word))) {
    return 'unknown'
  }
  if (styled && ordered) return 'both'
  return styled ? 'style' : 'order'
}

/** Step by step: in one pattern the blanks of a hostile value could be taken apart in very many ways. */
function valueOf(sql: string): string {
  const start = beginning.exec(sql)?.[0]
  if (start === undefined) return ''
  const rest = sql.slice(start.length)
  const value = (rest.endsWith(ending) ? rest.slice(0, -ending.length) : rest).trim()
  return plain.test(value) ? value : ''
}
