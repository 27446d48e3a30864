// The programs in other languages: how each is run and what it needs, which are packages of Debian. Those that the
// machine lacks are named on standard error and left out; RINGFENCE_TEST_LANGUAGES=all (what CI sets) makes that a failure.
import { spawnSync } from 'node:child_process'

/** A program and what to write of it in the results. Its version it tells itself. */
export type Script = {
  readonly client: string
  readonly language: string
  readonly notes: string
  /** Program and arguments, run in this folder. */
  readonly argv: readonly string[]
  /** Added to its environment. */
  readonly env?: Readonly<Record<string, string>>
  /** Ends with 0 where everything is there that the program needs. */
  readonly probe: readonly string[]
  /** Steps that are known not to end as on PostgreSQL, and why. */
  readonly differs?: Readonly<Record<string, string>>
  /** Packages of Debian 12 that bring it. */
  readonly packages: readonly string[]
}

const python = '/usr/bin/python3'
const jdbcJar = '/usr/share/java/postgresql.jar'
const debianGo = '/usr/share/gocode'

/** By the name of the test file: `django` for django.languages.test.ts. */
export const scripts = {
  django: {
    client: 'Django',
    language: 'Python',
    notes:
      'migrations of its own applications and of ours, up, down and up; `iterator()` by server-side cursors `WITH HOLD`',
    argv: [python, 'django_orm.py'],
    probe: [python, '-c', 'import django, psycopg2'],
    packages: ['python3-django', 'python3-psycopg2'],
  },
  sqlalchemy: {
    client: 'SQLAlchemy',
    language: 'Python',
    notes: 'Alembic up, down and up, `CREATE INDEX CONCURRENTLY` among it; `stream_results`',
    argv: [python, 'sqlalchemy_orm.py'],
    probe: [python, '-c', 'import sqlalchemy, alembic, psycopg2'],
    packages: ['python3-sqlalchemy', 'python3-alembic', 'python3-psycopg2'],
  },
  'active-record': {
    client: 'ActiveRecord',
    language: 'Ruby',
    notes:
      'migrations hold a session advisory lock, which keeps the connection on its server meanwhile; prepared statements',
    argv: ['ruby', 'active_record.rb'],
    probe: ['ruby', '-e', 'require "active_record"; require "pg"'],
    packages: ['ruby-activerecord', 'ruby-pg'],
  },
  psycopg: {
    client: 'psycopg 3',
    language: 'Python',
    notes:
      'parameters bound by the server, prepared after two uses, pipeline mode, cursors, `notifies()`',
    argv: [python, 'psycopg_driver.py'],
    probe: [python, '-c', 'import psycopg'],
    packages: ['python3-psycopg'],
  },
  asyncpg: {
    client: 'asyncpg',
    language: 'Python',
    notes:
      'everything binary and prepared; its pool resets connections with `pg_advisory_unlock_all()` and more',
    argv: [python, 'asyncpg_driver.py'],
    probe: [python, '-c', 'import asyncpg'],
    packages: ['python3-asyncpg'],
  },
  jdbc: {
    client: 'pgjdbc',
    language: 'Java',
    notes: 'statements prepared after some uses, batches rewritten, fetch sizes by portals',
    argv: ['java', '-cp', jdbcJar, 'Jdbc.java'],
    probe: ['sh', '-c', `test -e ${jdbcJar} && java -version`],
    packages: ['default-jdk-headless', 'libpostgresql-jdbc-java'],
  },
  pgx: {
    client: 'pgx 4 and lib/pq',
    language: 'Go',
    notes: 'statements prepared or described ahead and cached, batches, COPY in binary',
    argv: ['go', 'run', 'pgx/main.go'],
    env: { GO111MODULE: 'off', GOPATH: debianGo },
    probe: ['sh', '-c', `test -d ${debianGo}/src/github.com/jackc/pgx && go version`],
    packages: ['golang-go', 'golang-github-jackc-pgx-v4-dev', 'golang-github-lib-pq-dev'],
  },
  pdo: {
    client: 'PDO',
    language: 'PHP',
    notes:
      'prepared by the server, emulated and on persistent connections; COPY; scrollable cursors',
    argv: ['php', 'pdo.php'],
    probe: ['php', '-r', 'exit(extension_loaded("pdo_pgsql") ? 0 : 1);'],
    packages: ['php-cli', 'php-pgsql'],
  },
  'dbd-pg': {
    client: 'DBD::Pg',
    language: 'Perl',
    notes: 'prepared by the server, COPY, asynchronous queries',
    argv: ['perl', 'dbd_pg.pl'],
    probe: ['perl', '-MDBD::Pg', '-e', '1'],
    packages: ['libdbd-pg-perl'],
  },
  odbc: {
    client: 'psqlodbc',
    language: 'ODBC (Python)',
    notes: 'savepoints of its own around every statement of a transaction; `UseDeclareFetch`',
    argv: [python, 'odbc_driver.py'],
    probe: [python, '-c', 'import pyodbc; assert "PostgreSQL Unicode" in pyodbc.drivers()'],
    packages: ['python3-pyodbc', 'odbc-postgresql'],
  },
} as const satisfies Readonly<Record<string, Script>>

/** Names of the test files whose programs cannot run here. @throws Error when all have to. */
export function missingScripts(): string[] {
  const missing = Object.entries(scripts).filter(([, { probe }]) => !succeeds(probe))
  const packages = missing.flatMap(([, script]) => script.packages)
  if (missing.length === 0) return []
  const names = missing.map(([, { client }]) => client).join(', ')
  const remedy = `apt-get install ${packages.join(' ')}`
  const said = `${names}: not tested, for the machine lacks what they need: ${remedy}`
  if (process.env['RINGFENCE_TEST_LANGUAGES'] === 'all') throw new Error(said)
  process.stderr.write(`${said}\n`)
  return missing.map(([name]) => name)
}

function succeeds([program = '', ...argv]: readonly string[]): boolean {
  return spawnSync(program, argv, { stdio: 'ignore' }).status === 0
}
