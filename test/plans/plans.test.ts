// Golden plans: how each of these statements goes, the refused ones too. After a change of mind run
// vitest with -u and read the difference.
import { readdirSync, readFileSync } from 'node:fs'
import { beforeAll, describe, expect, it } from 'vitest'
import { loadParser } from '../../router/parser.ts'
import { regenerate } from './golden.ts'

const folder = import.meta.dirname
const files = readdirSync(folder).filter((name) => name.endsWith('.txt'))

beforeAll(loadParser)

describe('golden plans', () => {
  it.each(files)('%s goes as it is written down', async (name) => {
    const { text } = regenerate(readFileSync(`${folder}/${name}`, 'utf8'))
    await expect(text).toMatchFileSnapshot(`${folder}/${name}`)
  })

  it('are many, so that nothing common is missing', () => {
    const counts = files.map(
      (name) => regenerate(readFileSync(`${folder}/${name}`, 'utf8')).statements,
    )
    expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(250)
  })
})
