// What runs by itself or is shown to clients: views, rules, triggers, policies. Made last, so that
// nothing of it runs for the rows that are copied.
import {
  homeOnlyOids,
  ofExtension,
  optionList,
  parts,
  relation,
  userSchema,
  userTables,
} from './catalog-sql.ts'

const views = parts('view', {
  name: relation,
  sql: `format('CREATE VIEW %s%s AS %s', ${relation},
    (SELECT ' WITH (' || ${optionList('c.reloptions')} || ')'), pg_get_viewdef(c.oid))`,
  from: `pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'v' AND c.relpersistence <> 't' AND ${userSchema}
      AND NOT ${ofExtension('pg_class', 'c.oid')} AND c.oid NOT IN ${homeOnlyOids}`,
  order: 'c.oid',
})

/** Names of what stays on the home shard. */
export const homeOnlySql = `SELECT ${relation} AS name
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.oid IN ${homeOnlyOids} AND c.relkind <> 'f' AND ${userSchema}
    AND NOT ${ofExtension('pg_class', 'c.oid')}
  ORDER BY 1`

const onRelation = (joined: string, condition: string) => `pg_class c
  JOIN pg_namespace n ON n.oid = c.relnamespace ${joined}
  WHERE c.relkind IN ('r', 'p', 'v') AND ${userSchema} AND NOT ${ofExtension('pg_class', 'c.oid')}
    AND c.oid NOT IN ${homeOnlyOids} AND ${condition}`

const rules = parts('rule', {
  name: `format('%I on %s', r.rulename, ${relation})`,
  sql: 'pg_get_ruledef(r.oid)',
  from: onRelation('JOIN pg_rewrite r ON r.ev_class = c.oid', `r.rulename <> '_RETURN'`),
  order: 'r.oid',
})

/** Those of a move are the mover's; clones on partitions come with the parent's. */
const userTriggers = onRelation(
  'JOIN pg_trigger g ON g.tgrelid = c.oid JOIN pg_proc p ON p.oid = g.tgfoid',
  `NOT g.tgisinternal AND g.tgparentid = 0
   AND p.pronamespace IS DISTINCT FROM to_regnamespace('ringfence')`,
)

const triggers = parts('trigger', {
  name: `format('%I on %s', g.tgname, ${relation})`,
  sql: 'pg_get_triggerdef(g.oid)',
  from: userTriggers,
  order: 'g.oid',
})

const enabled = (column: string) => `CASE ${column} WHEN 'D' THEN 'DISABLE'
  WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END`

const triggerStates = parts('trigger state', {
  name: `format('%I on %s', g.tgname, ${relation})`,
  sql: `format('ALTER TABLE %s %s TRIGGER %I', ${relation}, ${enabled('g.tgenabled')}, g.tgname)`,
  from: `${userTriggers} AND g.tgenabled <> 'O'`,
  order: 'g.oid',
})

const ruleStates = parts('rule state', {
  name: `format('%I on %s', r.rulename, ${relation})`,
  sql: `format('ALTER TABLE %s %s RULE %I', ${relation}, ${enabled('r.ev_enabled')}, r.rulename)`,
  from: onRelation(
    'JOIN pg_rewrite r ON r.ev_class = c.oid',
    `r.rulename <> '_RETURN' AND r.ev_enabled <> 'O'`,
  ),
  order: 'r.oid',
})

const roles = `(SELECT string_agg(CASE WHEN m.oid = 0 THEN 'PUBLIC'
    ELSE (SELECT format('%I', a.rolname) FROM pg_roles a WHERE a.oid = m.oid) END, ', ')
  FROM unnest(l.polroles) m (oid))`

const policies = parts('policy', {
  name: `format('%I on %s', l.polname, ${relation})`,
  sql: `format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', l.polname, ${relation},
    CASE WHEN l.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
    CASE l.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
      WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, ${roles},
    ' USING (' || pg_get_expr(l.polqual, l.polrelid) || ')',
    ' WITH CHECK (' || pg_get_expr(l.polwithcheck, l.polrelid) || ')')`,
  from: userTables('JOIN pg_policy l ON l.polrelid = c.oid'),
  order: 'l.oid',
})

const rowSecurity = (column: string, words: string) =>
  parts('table setting', {
    name: `${relation} || ' ${words}'`,
    sql: `format('ALTER TABLE ONLY %s ${words} ROW LEVEL SECURITY', ${relation})`,
    from: `${userTables()} AND ${column}`,
    order: 'c.oid',
  })

/** Before foreign keys. */
export const viewParts: readonly string[] = [views]

/** In the order of their making. */
export const codeParts: readonly string[] = [
  rules,
  ruleStates,
  triggers,
  triggerStates,
  policies,
  rowSecurity('c.relrowsecurity', 'ENABLE'),
  rowSecurity('c.relforcerowsecurity', 'FORCE'),
]
