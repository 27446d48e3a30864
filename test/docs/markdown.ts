// The project's Markdown pages, read for their links and their blocks of code.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The project's folder. */
export const root = join(import.meta.dirname, '../..')

type Fence = {
  /** What stands behind the three backticks, such as `sql setup`. */
  readonly info: string
  readonly text: string
}

export type Page = {
  /** Path from the project's folder. */
  readonly file: string
  readonly text: string
  readonly fences: readonly Fence[]
  /** Targets of links and images, without those to other sites. */
  readonly links: readonly string[]
  /** What a link's `#…` may name. */
  readonly anchors: ReadonlySet<string>
}

const folders = ['.', 'docs', 'docs/decisions', 'test/scripts', 'test/clients']

/** Every Markdown page that the project has written. */
export function readPages(): readonly Page[] {
  return folders.flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => readPage(join(folder, name))),
  )
}

/** One page, by its path from the project's folder. */
export function readPage(file: string): Page {
  const text = readFileSync(join(root, file), 'utf8')
  const fences = [...text.matchAll(/^```([^\n]*)\n(.*?)^```$/gms)].map(
    ([, info = '', body = '']) => ({ info: info.trim(), text: body }),
  )
  const prose = text.replaceAll(/^```.*?^```$/gms, '').replaceAll(/`[^`\n]*`/g, '`…`')
  const links = [...prose.matchAll(/\]\(([^()\s]+)\)/g)].map(([, target = '']) => target)
  const headings = text.replaceAll(/^```.*?^```$/gms, '').matchAll(/^#+ (.*)$/gm)
  return {
    file,
    text,
    fences,
    links: links.filter((target) => !/^[a-z]+:/.test(target)),
    anchors: new Set([...headings].map(([, heading = '']) => anchorOf(heading))),
  }
}

/** As GitHub makes them: lower case, punctuation gone, blanks to hyphens. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replaceAll(/\s/g, '-')
}
