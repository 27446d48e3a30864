// A run's figures as a file, and what the page of results needs of it.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'

const sample = z.object({
  tps: z.number(),
  p50Ms: z.number(),
  p99Ms: z.number(),
  maxMs: z.number(),
  proxyMicros: z.number().nullable(),
  serverMicros: z.number(),
  replicaShare: z.number().nullable(),
})

const results = z.object({
  startedAt: z.string(),
  machine: z.object({
    cpu: z.string(),
    cores: z.number(),
    memoryMiB: z.number(),
    kernel: z.string(),
    node: z.string(),
    pgbench: z.string(),
    commit: z.string().nullable(),
    load1: z.number(),
    peers: z.record(z.string(), z.string()),
  }),
  rounds: z.number(),
  seconds: z.number(),
  rows: z.array(
    z.object({
      name: z.string(),
      base: z.string().nullable(),
      ratePerSecond: z.number().nullable(),
      peers: z.array(
        z.object({
          name: z.string(),
          samples: z.array(sample),
          failure: z.string().nullable(),
        }),
      ),
    }),
  ),
  idle: z.array(
    z.object({
      peer: z.string(),
      version: z.string(),
      steps: z.array(z.object({ clients: z.number(), residentBytes: z.number() })),
    }),
  ),
})

/** What of a run is shown on the page. */
export type Results = z.output<typeof results>

/** Throws with the file's name and what is wrong with it. */
export async function readResults(file: string): Promise<Results> {
  try {
    return results.parse(JSON.parse(await readFile(file, 'utf8')))
  } catch (cause) {
    throw new Error(`"${file}" holds no results of this benchmark`, { cause })
  }
}

/** Writes whatever there is of a run, among it what `readResults` reads. */
export async function writeResults(file: string, report: object): Promise<void> {
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, `${JSON.stringify(report, null, 2)}\n`)
}

/** bench/results/<instant>.json. */
export function defaultFile(startedAt: string): string {
  return join(import.meta.dirname, 'results', `${startedAt.slice(0, 19).replaceAll(':', '-')}.json`)
}
