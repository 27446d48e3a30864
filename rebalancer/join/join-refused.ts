// Why a shard cannot join, all reasons at once: told to the operator on the command line.

/** Nothing of the cluster is different from before. */
export class JoinRefused extends Error {
  readonly problems: readonly string[]
  readonly hint =
    'Nothing of the cluster has changed; run the same command again when that is settled.'

  constructor(problems: readonly string[], options: { readonly cause?: unknown } = {}) {
    super(problems.join('\n'), options)
    this.name = 'JoinRefused'
    this.problems = problems
  }
}
