// The settings of every server of the demo, as the text of its ringfence.conf.
import type { Installation } from './installation.ts'

/** Names and values as in postgresql.conf, unquoted. */
export type Settings = Readonly<Record<string, string | number>>

/**
 * What all servers have in common. They may lose everything when the MACHINE dies (fsync and
 * full_page_writes are off: right for a demo and for tests, never for rows one wants to keep); a
 * crash of a server loses nothing.
 */
export function baseSettings(installation: Installation): Settings {
  return {
    listen_addresses: '127.0.0.1',
    max_connections: 200,
    shared_buffers: '32MB',
    fsync: 'off',
    full_page_writes: 'off',
    wal_level: 'logical',
    max_prepared_transactions: 100,
    max_wal_senders: 20,
    max_replication_slots: 20,
    // A standby that was away for a while still finds what it missed.
    wal_keep_size: '256MB',
    wal_retrieve_retry_interval: '100ms',
    wal_receiver_status_interval: '1s',
    hot_standby: 'on',
    password_encryption: 'scram-sha-256',
    // In the data directory rather than /dev/shm: gone with it, and containers have little of the
    // other.
    dynamic_shared_memory_type: 'mmap',
    timezone: 'UTC',
    log_timezone: 'UTC',
    log_checkpoints: 'off',
    // Since 18 a server starts three processes for I/O: too many for what these servers read.
    ...(installation.version >= 18 ? { io_method: 'sync' } : {}),
  }
}

/** The file's text; a later entry of the same name wins. */
export function settingsText(settings: Settings): string {
  const lines = Object.entries(settings).map(
    ([name, value]) => `${name} = '${String(value).replaceAll("'", "''")}'`,
  )
  return `${lines.join('\n')}\n`
}
