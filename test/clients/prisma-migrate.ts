// `prisma migrate deploy` without Prisma's Rust binary, which npm does not carry: the same schema
// engine as WebAssembly, over the client's own driver adapter. What it sends is what the command sends:
// an advisory lock, its bookkeeping table and each migration's whole script as one Query message.
// Not possible here: the `prisma migrate` command itself (it downloads that binary) and shadow databases.
import { readFile, readdir } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { PrismaPg } from '@prisma/adapter-pg'
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils'
import * as glue from '@prisma/schema-engine-wasm/schema_engine_bg'
import { Pool } from 'pg'

const folder = fileURLToPath(new URL('./prisma/', import.meta.url))
const filters = { externalTables: [], externalEnums: [] }

/** The migration engine and the connection that it keeps, with the lock on it, until closed. */
export type Migrator = { readonly engine: glue.SchemaEngine; close(): Promise<void> }

/** Opens Prisma's migration engine on one database. */
export async function openMigrator(connectionString: string): Promise<Migrator> {
  await loadEngine()
  const schema = await readFile(`${folder}schema.prisma`, 'utf8')
  const datamodels: [string, string][] = [['schema.prisma', schema]]
  const pool = new Pool({ connectionString, max: 1 })
  const adapter = bindMigrationAwareSqlAdapterFactory(new PrismaPg(pool))
  const engine = await glue.SchemaEngine.new({ datamodels }, () => {}, adapter)
  return {
    engine,
    async close() {
      engine.free()
      await pool.end()
    },
  }
}

/** Migrations as they lie in prisma/migrations, in the form the engine wants. */
export async function migrationsOnDisk() {
  const baseDir = `${folder}migrations`
  const found = await readdir(baseDir, { withFileTypes: true })
  const names = found.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  const migrationDirectories = await Promise.all(
    names.sort().map(async (path) => {
      const value = await readFile(`${baseDir}/${path}/migration.sql`, 'utf8')
      return {
        path,
        migrationFile: { path: 'migration.sql', content: { tag: 'ok', value } as const },
      }
    }),
  )
  const lock = await readFile(`${baseDir}/migration_lock.toml`, 'utf8')
  const lockfile = { path: 'migration_lock.toml', content: lock }
  const migrationsList = { baseDir, lockfile, shadowDbInitScript: '', migrationDirectories }
  return { migrationsList, filters }
}

let loading: Promise<void> | undefined

function loadEngine(): Promise<void> {
  loading ??= (async () => {
    const beside = import.meta.resolve('@prisma/schema-engine-wasm/schema_engine_bg')
    const bytes = await readFile(new URL('schema_engine_bg.wasm', beside))
    const imports = { './schema_engine_bg.js': { ...glue } }
    const { instance } = await WebAssembly.instantiate(bytes, imports)
    glue.__wbg_set_wasm(instance.exports)
    const { __wbindgen_start: start } = instance.exports
    if (typeof start === 'function') start()
  })()
  return loading
}
