// Versions of npm packages as they are installed, for the results.
import { readFileSync } from 'node:fs'
import { z } from 'zod'

const manifest = z.object({ version: z.string() })

/** `1.2.3` of the first package, the others behind it: `3.3.0 (pg 8.23.1)`. */
export function npmVersions(first: string, ...others: readonly string[]): string {
  const under = others.map((name) => `${name} ${versionOf(name)}`).join(', ')
  return under === '' ? versionOf(first) : `${versionOf(first)} (${under})`
}

function versionOf(name: string): string {
  const file = new URL(`node_modules/${name}/package.json`, import.meta.url)
  return manifest.parse(JSON.parse(readFileSync(file, 'utf8'))).version
}
