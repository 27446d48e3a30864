// Writes the pages of docs/ that come from the code: configuration.md from the declared settings,
// errors.md from the error table, compatibility.md from what real clients saw. With --check it writes nothing and
// fails when a page is stale.
import { readFileSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { declarations, type About } from '../config/setting.ts'
import { fileSchema } from '../config/settings.ts'
import type { ErrorSpec } from '../core/error-spec.ts'
import { errorTable } from '../core/error-table.ts'
import { compatibilityPage } from './compatibility-page.ts'

type Page = { readonly file: string; readonly text: string }

const again: Readonly<Record<ErrorSpec['retry'], string>> = {
  safe: 'yes: nothing of it was kept',
  unsafe: 'check first: it may have taken effect',
  useless: 'no: the answer would be the same',
}
const settingsHead = '| setting | values | default | applies | meaning |\n|---|---|---|---|---|'
const appendix = 'https://www.postgresql.org/docs/current/errcodes-appendix.html'
const errorsIntro = `Errors of PostgreSQL itself pass through unchanged. These are the ones that
Ringfence adds; every SQLSTATE is one of [PostgreSQL’s own](${appendix}).`
const configurationIntro = `Settings are read from one YAML file, \`ringfence.yaml\`. Only \`databases\` is
required; a minimal file:

\`\`\`yaml
users:
  - { name: app, password: \${APP_PASSWORD} }
databases:
  app:
    shards:
      - { id: s1, primary: postgres://10.0.0.1:5432/app }
\`\`\`

- \`ringfence check\` reports everything that is wrong with the file and the servers at once.
- \`\${NAME}\` is the value of an environment variable, \`\${NAME:-text}\` that or \`text\` where it
  is unset or empty, \`$\${\` a literal \`\${\`. It stands anywhere in a value, with or without quotes
  around it, and is put in after the YAML was read: no value can break the file, and it is always
  text (numbers and switches read it as such). In a URL write special characters as \`%XX\`.
  References in comments are not looked at.
- Durations have a unit: \`ms\`, \`s\`, \`m\`, \`h\`, \`d\`. Sizes too: \`B\`, \`kB\`, \`MiB\`, \`GiB\`;
  as in PostgreSQL every unit is a power of 1,024 (\`kB\` = \`KiB\`, \`MB\` = \`MiB\`).
- YAML's anchors, aliases and merge keys (\`<<\`) work; a name given twice is an error.
- *Not yet*: the setting's name is settled, but this version behaves only as the values named there
  say. Any other value is refused, never ignored.
- *Applies*: \`reload\` marks what a running proxy takes over at a [reload](operations.md#reload);
  \`restart\` waits for a restart or an [upgrade](operations.md#upgrade).`

const pages: readonly Page[] = [
  { file: 'docs/configuration.md', text: configurationPage() },
  { file: 'docs/errors.md', text: errorsPage() },
  { file: 'docs/compatibility.md', text: compatibilityPage('test/clients/results') },
]
const stale = pages.filter(({ file, text }) => contentOf(file) !== text)
if (process.argv.includes('--check')) {
  for (const { file } of stale) process.stdout.write(`${file} is stale: run "npm run docs"\n`)
  process.exitCode = stale.length === 0 ? 0 : 1
} else {
  for (const { file, text } of stale) writeFileSync(file, text)
}
process.stdout.write(`${pages.length} pages, ${stale.length} stale\n`)

function contentOf(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}

function configurationPage(): string {
  const sections = new Map<string, { meaning: string | null; rows: string[] }>()
  for (const declared of declarations(fileSchema)) {
    const { path } = declared
    const inside = path.at(-1) === '[]' ? path.slice(0, -2) : path.slice(0, -1)
    const title = pathOf(declared.kind === 'section' ? path : inside)
    const section = sections.get(title) ?? { meaning: null, rows: [] }
    sections.set(title, section)
    if (declared.kind === 'section') section.meaning = declared.meaning
    else section.rows.push(settingRow(pathOf(path.slice(inside.length)), declared.about))
  }
  const parts = [...sections].map(([title, { meaning, rows }]) => {
    const paragraphs = [`## ${title === '' ? 'The file' : `\`${title}\``}`]
    if (meaning !== null) paragraphs.push(meaning)
    if (rows.length > 0) paragraphs.push(`${settingsHead}\n${rows.join('\n')}`)
    return paragraphs.join('\n\n')
  })
  const head = `${generated('config/')}\n# Configuration\n\n${configurationIntro}`
  return `${[head, ...parts].join('\n\n')}\n`
}

function settingRow(name: string, about: About): string {
  const { values, applies, meaning, later } = about
  const notYet = later === null ? '' : ` *Not yet*: only ${worksOf(about)}; ${later.because}.`
  const cells = [`\`${name}\``, values, defaultOf(about), applies, `${meaning}${notYet}`]
  return tableRow(cells)
}

function worksOf({ later }: About): string {
  return (later?.works ?? []).map((value) => `\`${yamlOf(value)}\``).join(', ')
}

function defaultOf({ standard }: About): string {
  return standard === undefined ? 'required' : `\`${yamlOf(standard)}\``
}

function yamlOf(value: unknown): string {
  return stringify(value).trimEnd()
}

function pathOf(path: readonly string[]): string {
  return path.join('.').replaceAll('.[]', '[]')
}

function errorsPage(): string {
  const rows = Object.entries<ErrorSpec>(errorTable)
    .toSorted(([nameA, a], [nameB, b]) => order(a.sqlstate, b.sqlstate) || order(nameA, nameB))
    .map(([, spec]) => errorRow(spec))
  const head = '| SQLSTATE | message | when | hint | send it again? |\n|---|---|---|---|---|'
  const table = `${head}\n${rows.join('\n')}`
  return `${generated('core/errors.ts')}\n# Errors\n\n${errorsIntro}\n\n${table}\n`
}

function errorRow({ sqlstate, severity, message, meaning, hint, retry }: ErrorSpec): string {
  const fatal = severity === 'FATAL' ? ' (ends the connection)' : ''
  const text = `\`${message.replaceAll('%s', '…')}\`${fatal}`
  const said = hint?.replaceAll('%s', '…') ?? ''
  const cells = [`\`${sqlstate}\``, text, meaning, said, again[retry]]
  return tableRow(cells)
}

function tableRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
}

function order(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function generated(source: string): string {
  return `<!-- Generated from ${source} by "npm run docs"; do not edit. -->`
}
