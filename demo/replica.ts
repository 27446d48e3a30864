// Makes the data directory of a streaming replica. The npm binaries have no pg_basebackup, so this
// follows the manual's "Making a Base Backup Using the Low Level API" (section 25.3.3) for a
// running primary.
import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { readPostmasterFile } from './postmaster-file.ts'
import { giveToServers } from './server-user.ts'
import { withClient } from './sql.ts'
import { copyDirectory, settingsFile } from './template.ts'

/** The primary to copy. */
export type StandbySource = {
  readonly dataDir: string
  /** For the superuser; null when the primary is stopped. */
  readonly url: string | null
}

/** Copies the primary's data directory to `to` and marks it as a standby. */
export async function copyStandby(source: StandbySource, to: string): Promise<void> {
  if (source.url === null) {
    if ((await readPostmasterFile(source.dataDir)) !== null) {
      throw new Error(`"${source.dataDir}" was not shut down cleanly: start it before copying it`)
    }
    await copyDirectory(source.dataDir, to)
  } else {
    await copyOnline(source.dataDir, source.url, to)
  }
  // What belongs to the primary alone (manual, 25.3.3.1 and 25.3.4).
  for (const name of ['postmaster.pid', 'postmaster.opts', settingsFile]) {
    await rm(join(to, name), { force: true })
  }
  for (const slot of await readdir(join(to, 'pg_replslot'))) {
    await rm(join(to, 'pg_replslot', slot), { recursive: true })
  }
  await writeOwned(join(to, 'postgresql.auto.conf'), '')
  await writeOwned(join(to, 'standby.signal'), '')
}

async function copyOnline(dataDir: string, url: string, to: string): Promise<void> {
  // The backup lives as long as the session that started it.
  const label = await withClient(url, async (client) => {
    await client.query("SELECT pg_backup_start('replica', fast => true)")
    await copyDirectory(dataDir, to).catch((error: Error) => {
      // Files that were dropped while cp walked along: recovery does not need them.
      if (!/: No such file or directory/.test(error.message)) throw error
    })
    const stopped = await client.query<{ label: string }>(
      'SELECT labelfile AS label FROM pg_backup_stop(wait_for_archive => false)',
    )
    return stopped.rows[0]?.label ?? ''
  })
  await writeOwned(join(to, 'backup_label'), label)
}

async function writeOwned(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600 })
  await giveToServers(path)
}
