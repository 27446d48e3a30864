// Links between pages lead somewhere: to a file of the project, and where they name one, to a heading.
import { existsSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readPages, root } from './markdown.ts'

const pages = readPages()
const pageOf = new Map(pages.map((page) => [page.file, page]))

describe('pages', () => {
  it('are found, with links in them', () => {
    expect(pages.length).toBeGreaterThan(15)
    expect(pages.flatMap(({ links }) => links).length).toBeGreaterThan(20)
  })

  it.each(pages)('$file links to files and headings that exist', ({ file, links }) => {
    const broken = links.filter((link) => {
      const [path = '', anchor] = link.split('#')
      const target = path === '' ? file : normalize(join(dirname(file), path))
      if (!existsSync(join(root, target))) return true
      return anchor !== undefined && pageOf.get(target)?.anchors.has(anchor) !== true
    })
    expect(broken).toEqual([])
  })

  it.each(pages)('$file names npm scripts that exist', async ({ text }) => {
    const { scripts } = await manifest()
    const named = [...text.matchAll(/npm (?:run |(?=test\b|start\b))([a-z:]+)/g)]
    const unknown = named.map(([, name = '']) => name).filter((name) => !(name in scripts))
    expect(unknown).toEqual([])
  })
})

async function manifest(): Promise<{ readonly scripts: Readonly<Record<string, string>> }> {
  const imported = await import('../../package.json', { with: { type: 'json' } })
  return imported.default
}
