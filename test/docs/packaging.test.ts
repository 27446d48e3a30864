// Dockerfile, compose file and build: they name what exists, and what they make runs.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { loadConfig } from '../../config/load.ts'
import { root } from './markdown.ts'

const read = (file: string) => readFileSync(join(root, file), 'utf8')

const composeSchema = z.looseObject({
  services: z.record(
    z.string(),
    z.looseObject({
      image: z.string().optional(),
      build: z.string().optional(),
      command: z.array(z.string()).optional(),
      environment: z.record(z.string(), z.string()).default({}),
      volumes: z.array(z.string()).default([]),
      depends_on: z.record(z.string(), z.looseObject({ condition: z.string() })).default({}),
    }),
  ),
  volumes: z.record(z.string(), z.null()),
})
const compose = composeSchema.parse(parse(read('docker-compose.yml'), { merge: true }))
const services = Object.entries(compose.services)

describe('docker-compose.yml', () => {
  it('has three shards with a replica each, the proxy, its init and Redis', () => {
    const shards = ['s1', 's2', 's3'].flatMap((id) => [id, `${id}-replica`])
    expect(Object.keys(compose.services).sort()).toEqual(
      [...shards, 'init', 'redis', 'ringfence'].sort(),
    )
  })

  it('mounts files and volumes that exist', () => {
    const sources = services.flatMap(([, { volumes }]) => volumes.map((item) => item.split(':')[0]))
    const missing = sources.filter((source = '') =>
      source.startsWith('.') ? !existsSync(join(root, source)) : !(source in compose.volumes),
    )
    expect(missing).toEqual([])
    expect(sources.length).toBeGreaterThan(10)
  })

  it('waits for services that exist', () => {
    const waited = services.flatMap(([, { depends_on: on }]) => Object.keys(on))
    expect(waited.filter((name) => !(name in compose.services))).toEqual([])
  })

  it('gives primaries what "ringfence check" asks for', () => {
    for (const id of ['s1', 's2', 's3', 's1-replica']) {
      const command = compose.services[id]?.command ?? []
      expect(command).toContain('wal_level=logical')
      expect(command).toContain('max_prepared_transactions=200')
      expect(command).toContain('max_connections=200')
    }
  })

  it('runs the proxy with a file that is accepted and names its services', () => {
    const { environment = {} } = compose.services['ringfence'] ?? {}
    const file = 'deploy/docker/ringfence.yaml'
    const loaded = loadConfig(read(file), { file, env: environment })
    expect(loaded.ok ? loaded.warnings : loaded.problems).toEqual([])
    const shards = loaded.ok ? (loaded.config.databases[0]?.shards ?? []) : []
    const hosts = shards.flatMap(({ primary, replicas }) => [
      primary,
      ...replicas.map(({ address }) => address),
    ])
    expect(hosts.map(({ host }) => host).filter((host) => !(host in compose.services))).toEqual([])
    expect(hosts).toHaveLength(6)
  })

  it.each(readdirSync(join(root, 'deploy/docker')).filter((name) => name.endsWith('.sh')))(
    'has a script %s that a shell can read and run',
    (name) => {
      const file = join(root, 'deploy/docker', name)
      expect(spawnSync('sh', ['-n', file], { encoding: 'utf8' }).stderr).toBe('')
      expect(statSync(file).mode & 0o111).not.toBe(0)
    },
  )
})

describe('the image', () => {
  const copied = [...read('Dockerfile').matchAll(/^COPY (.+) \S+$/gm)].flatMap(([, list = '']) =>
    list.split(' '),
  )

  it('copies what exists and what .dockerignore lets through', () => {
    const allowed = [...read('.dockerignore').matchAll(/^!(.+?)\/?$/gm)].map(
      ([, path = '']) => path,
    )
    expect(copied.filter((path) => !existsSync(join(root, path)))).toEqual([])
    expect(new Set(copied)).toEqual(new Set(allowed))
  })

  it('has every folder that the program imports from', () => {
    const folders = new Set(importsOf('cli/main.ts', new Set()).map((file) => file.split('/')[0]))
    expect([...folders].filter((folder = '') => !copied.includes(folder))).toEqual([])
    expect(folders.size).toBeGreaterThan(7)
  })
})

/** `file` and everything of the project that it imports. */
function importsOf(file: string, seen: Set<string>): readonly string[] {
  if (seen.has(file)) return []
  seen.add(file)
  const imports = [...read(file).matchAll(/(?: from |\bimport\()'(\.[^']+)'/g)]
  for (const [, path = ''] of imports) importsOf(join(file, '..', path), seen)
  return [...seen]
}

describe('the build', () => {
  // Inside node_modules, where the built program finds its packages and no tool of the project looks.
  const outDir = mkdtempSync(join(root, 'node_modules/.ringfence-build-'))
  afterAll(() => rmSync(outDir, { recursive: true, force: true }))

  it('makes a program that runs without type stripping', () => {
    const build = spawnSync(process.execPath, [join(root, 'tools/build.ts'), outDir], {
      encoding: 'utf8',
    })
    expect(`${build.stdout}${build.stderr}`).toBe('')
    const main = join(outDir, 'cli/main.js')
    const run = (...args: string[]) =>
      spawnSync(process.execPath, ['--no-experimental-strip-types', main, ...args], {
        encoding: 'utf8',
      })
    expect(run('--version').stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    // Reads the migrations, and finds nothing wrong but what is not there.
    expect(run('check', '--config', 'nowhere.yaml').stdout).toContain('nowhere.yaml')
    const migrations = readdirSync(join(outDir, 'catalog/migrations'), { recursive: true })
    expect(migrations).toEqual(readdirSync(join(root, 'catalog/migrations'), { recursive: true }))
  })
})
