// PostgreSQL's own tests in source, as Debian packages them: fetched with apt, built once and kept in the cache.
import { copyFile, mkdir, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import { fetchSource } from './debian-source.ts'
import { findBlockedByName } from './isolation-patch.ts'

/** Everything that the suites of one PostgreSQL need, built. */
export type PostgresSources = {
  /** The source tree. */
  readonly tree: string
  /** Holds the libraries that the regression suite loads into the server. */
  readonly libraries: string
  /** Holds `isolationtester` and `libpq_pipeline`. */
  readonly programs: string
}

/** Grows when what follows builds something else. */
const revision = 2

/** @throws when a package or a compiler cannot be had */
export async function postgresSources(version: number): Promise<PostgresSources> {
  const name = `suites-postgresql-${version}-${await packageVersion(version)}-${revision}`
  const dir = await cachedDirectory(name, (to) => build(version, to))
  return {
    tree: join(dir, 'tree'),
    libraries: join(dir, 'libraries'),
    programs: join(dir, 'programs'),
  }
}

/** Of the server that is installed: the sources must be those of its binaries. */
async function packageVersion(version: number): Promise<string> {
  const argv = ['-W', '-f', '${Version}', `postgresql-${version}`]
  return (await runCommand('dpkg-query', argv)).trim()
}

async function build(version: number, dir: string): Promise<void> {
  const release = await packageVersion(version)
  const tree = join(dir, 'tree')
  await mkdir(tree)
  await fetchSource('bookworm', `postgresql-${version}=${release}`, dir)
  await runCommand('sh', ['-c', `tar xjf ${dir}/*.orig.tar.bz2 -C ${tree} --strip-components=1`])
  await fetchHeaders(`postgresql-server-dev-${version}=${release}`, dir)
  const headers = join(dir, 'headers/usr/include/postgresql')
  const includes = [
    ...[`-I${headers}/${version}/server`, '-I/usr/include/postgresql/internal'],
    ...['-I/usr/include/postgresql', `-I${tree}/src/include`],
  ]
  await buildLibraries(version, { dir, tree, includes })
  await buildPrograms(version, { dir, tree, includes })
  await runCommand('sh', ['-c', `rm -rf ${dir}/*.orig.tar.* ${dir}/*.debian.tar.* ${dir}/*.dsc`])
}

/** Unpacked beside the sources, not installed. */
async function fetchHeaders(name: string, dir: string): Promise<void> {
  await runCommand('apt-get', ['download', name], { cwd: dir })
  await runCommand('sh', ['-c', 'dpkg -x *.deb headers && rm *.deb'], { cwd: dir })
}

type Paths = { readonly dir: string; readonly tree: string; readonly includes: readonly string[] }

async function buildLibraries(version: number, { dir, tree, includes }: Paths): Promise<void> {
  const libraries = join(dir, 'libraries')
  await mkdir(libraries)
  const source = join(tree, 'src/test/regress/regress.c')
  const argv = ['-O1', '-fPIC', '-shared', ...includes, source]
  await runCommand('gcc', [...argv, '-o', join(libraries, 'regress.so')])
  for (const name of ['refint.so', 'autoinc.so']) {
    await symlink(`/usr/lib/postgresql/${version}/lib/${name}`, join(libraries, name))
  }
}

async function buildPrograms(version: number, { dir, tree, includes }: Paths): Promise<void> {
  const programs = join(dir, 'programs')
  await mkdir(programs)
  const archives = join(dir, `headers/usr/lib/postgresql/${version}/lib`)
  const libraries = [`-L${archives}`, '-lpgcommon', '-lpgport', '-lpq', '-lm']
  const isolation = join(tree, 'src/test/isolation')
  await findBlockedByName(join(isolation, 'isolationtester.c'))
  const parts = ['isolationtester.c', 'specparse.c'].map((file) => join(isolation, file))
  const common = ['-O1', '-w', `-I${isolation}`, ...includes]
  const target = (name: string) => ['-o', join(programs, name)]
  await runCommand('gcc', [...common, ...parts, ...target('isolationtester'), ...libraries])
  const pipeline = join(tree, 'src/test/modules/libpq_pipeline/libpq_pipeline.c')
  // It looks for the isolationtester beside itself.
  const tests = `/usr/lib/postgresql/${version}/lib/pgxs/src/test`
  for (const name of ['regress/pg_regress', 'isolation/pg_isolation_regress']) {
    await copyFile(join(tests, name), join(programs, basename(name)))
  }
  await runCommand('gcc', [...common, pipeline, ...target('libpq_pipeline'), ...libraries])
}
