// Starts the servers that tests share, once for a whole run, and stops them at its end.
import type { TestProject } from 'vitest/node'
import { chooseProvider, chooseVersions } from './server-provider.ts'

/** Called by vitest; what it returns is called at the end. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const provider = chooseProvider(process.env)
  const starting = chooseVersions(process.env).map((version) => provider(version))
  const settled = await Promise.allSettled(starting)
  const started = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const stop = async () => {
    await Promise.all(started.map((servers) => servers.stop()))
  }
  if (started.length < starting.length) await stop()
  await Promise.all(starting)
  project.provide(
    'servers',
    started.map(({ servers }) => servers),
  )
  return stop
}
