// PgBouncer's userlist.txt (auth_file): a line for each user, `"name" "password"`, both in double quotes, a double quote
// in them written twice. The password is in plain, `md5…` or `SCRAM-SHA-256$…`. Lines that begin with ; or # are
// comments; what stands behind the password is ignored, as in PgBouncer.

/** What is wrong with the file; repeats no password. */
export class UserListError extends Error {}

/** Users by name, with what the list says of their password; of several lines of one user the first counts. */
export function parseUserList(text: string): ReadonlyMap<string, string> {
  const users = new Map<string, string>()
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const rest = line.trimStart()
    if (rest === '' || rest.startsWith(';') || rest.startsWith('#')) continue
    const found = /^"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"(?!")/.exec(rest)
    if (found === null) throw wrong(index, 'expected "name" "password", both in double quotes')
    const [name, password] = [found[1], found[2]].map((each) => (each ?? '').replaceAll('""', '"'))
    if (name === undefined || name === '') throw wrong(index, 'the name is empty')
    if (/\0/.test(line)) throw wrong(index, 'there is a zero byte')
    if (!users.has(name)) users.set(name, password ?? '')
  }
  return users
}

function wrong(index: number, reason: string): UserListError {
  return new UserListError(`line ${index + 1}: ${reason}`)
}
