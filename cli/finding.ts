// What `ringfence check` found: in the file or on a server, and what to do about it.

/** One thing that is wrong (`error`) or likely to hurt later (`warning`). */
export type Finding = {
  readonly severity: 'error' | 'warning'
  /** Place in the configuration file, `ringfence.yaml:12:7`. */
  readonly where: string
  /** The setting or the server, such as `s2 primary 10.0.0.3:5432/app`; empty for the whole file. */
  readonly subject: string
  readonly message: string
  readonly remedy: string | null
}

/** What is wrong, before it is known where. */
export type Verdict = Omit<Finding, 'where' | 'subject'>

/** Something that has to be put right. */
export function wrong(message: string, remedy: string): Verdict {
  return { severity: 'error', message, remedy }
}

/** Something that works and may surprise. */
export function doubtful(message: string, remedy: string): Verdict {
  return { severity: 'warning', message, remedy }
}
