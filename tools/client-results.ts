// What runs of real clients saw, as the suites in test/clients write it down and tools/compatibility-page.ts shows
// it. One file per client in test/clients/results; nothing in them depends on when or where the run was.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

/** How Ringfence stood between the client and its data. */
export const layouts = ['one shard', 'three shards'] as const

const step = z.strictObject({
  did: z.string(),
  /** Whether the client observed the same through Ringfence as directly on PostgreSQL. */
  result: z.enum(['same', 'differs']),
  /** For a difference that is known. */
  why: z.string().optional(),
})

/** One client: its versions, what it did in each layout, and what came of it. */
export const clientResult = z.strictObject({
  client: z.string(),
  language: z.string(),
  version: z.string(),
  notes: z.string(),
  runs: z.array(
    z.strictObject({
      layout: z.enum(layouts),
      /** Major versions of PostgreSQL: `18, 15`. */
      postgres: z.string(),
      steps: z.array(step),
    }),
  ),
})

/** The content of one file. */
export type ClientResult = z.infer<typeof clientResult>

/** All files of `folder`, by the client's name. @throws ZodError for one that is not as it should be. */
export function readResults(folder: string): ClientResult[] {
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
  const read = (name: string) =>
    clientResult.parse(JSON.parse(readFileSync(join(folder, name), 'utf8')))
  const key = ({ client }: ClientResult) => client.toLowerCase()
  return files.map(read).toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
}
