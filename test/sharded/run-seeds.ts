// How often and from which seed the generated comparisons run: RINGFENCE_STATEMENTS=20000 for more
// of them, RINGFENCE_SEED=… to repeat a run.

/** Of this run; printed with every result. */
export const runSeed = Number(process.env['RINGFENCE_SEED'] ?? Date.now() % 1_000_000_000)

const scale = Number(process.env['RINGFENCE_STATEMENTS'] ?? 1_000) / 1_000

/** How many runs make `usual` when the environment does not ask for more. */
export function runsOf(usual: number): number {
  return Math.max(1, Math.round(usual * scale))
}

/** Of one generated comparison; what goes wrong is made smaller for two thirds of it. */
export const timeoutMs = 90_000 * Math.max(1, scale)

/** For fast-check: `usual` runs from this run's seed. */
export function parameters(usual: number) {
  return {
    seed: runSeed,
    numRuns: runsOf(usual),
    interruptAfterTimeLimit: (timeoutMs * 2) / 3,
    markInterruptAsFailure: true,
  }
}
