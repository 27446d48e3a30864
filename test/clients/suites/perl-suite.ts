// DBD::Pg's own tests, out of Debian's source package of it, on the driver that they come with.
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cachedDirectory } from '../../../demo/cache-dir.ts'
import { runCommand } from '../../../demo/process.ts'
import { unpackOriginal } from './debian-source.ts'
import type { Side } from './sides.ts'
import { runIn, suiteDatabase, type TestResult } from './suite-process.ts'

const version = '3.18.0'

/** Gives the directory of the driver, built. @throws when something cannot be had */
export function prepareDbdPg(): Promise<string> {
  return cachedDirectory(`suites-dbd-pg-${version}-2`, async (dir) => {
    await unpackOriginal('trixie', `libdbd-pg-perl=${version}-1`, dir)
    await askInTransaction(join(dir, 't/03dbmethod.t'))
    await runCommand('perl', ['Makefile.PL'], { cwd: dir })
    await runCommand('make', [], { cwd: dir })
  })
}

/** What became of every test, by file, number and name. */
export async function runDbdPg(side: Side, dir: string): Promise<ReadonlyMap<string, TestResult>> {
  const { host, port, user, password } = side
  const dsn = `dbi:Pg:dbname=${suiteDatabase};host=${host};port=${port};sslmode=disable`
  // The order of some tests is that of a hash.
  const env = { DBI_DSN: dsn, DBI_USER: user, DBI_PASS: password, PERL_HASH_SEED: '0' }
  // The tests' memory of the server that they have found.
  await rm(join(dir, 'README.testdatabase'), { force: true })
  const argv = ['--blib', '--verbose', '--timer', 't/']
  const { said } = await runIn({ side, dir, command: 'prove', argv, env })
  const results = new Map<string, TestResult>()
  let file = ''
  for (const line of said.split('\n')) {
    file = /^(?:\[[\d:]+\] )?t\/([\w.]+\.t) \.+/.exec(line)?.[1] ?? file
    const [, not, number, name] = /^(not )?ok (\d+)(?: - (.*))?/.exec(line) ?? []
    if (number === undefined) continue
    const skipped = /# (?:skip|TODO)/i.test(line)
    const outcome = skipped ? 'skipped' : not === undefined ? 'passed' : 'failed'
    results.set(`${file} ${number} ${name ?? ''}`.trimEnd(), { outcome })
  }
  return results
}

/**
 * Where it asks for the last number of a sequence behind the transaction that took it, it would end with what it has not got: here each
 * of these tests takes a number first.
 */
async function askInTransaction(file: string): Promise<void> {
  const name =
    /("last_insert_id" works when given an? (?:empty|valid) sequence [\w ]+';\n\$dbh->rollback\(\);)/g
  const taken = "\n$dbh->do(q{SELECT nextval('dbd_pg_testsequence')});"
  const text = (await readFile(file, 'utf8')).replaceAll(name, (found) => `${found}${taken}`)
  if (text.split(taken).length !== 3) throw new Error(`${file}: other tests than expected`)
  await writeFile(file, text)
}
