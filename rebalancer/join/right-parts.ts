// Comments, rights and owners. They are carried over as far as the roles are there: who may not
// read a table on one shard is told so by that shard. Running them again changes nothing.
import {
  homeOnlyOids,
  ofExtension,
  parts,
  relation,
  typeName,
  userRoutines,
  userSchema,
} from './catalog-sql.ts'

/** pg_identify_object names what a comment is on nearly as COMMENT ON wants it. */
const comments = `
  SELECT 'comment' AS kind, o.type || ' ' || o.identity AS name,
    format('COMMENT ON %s IS %L', CASE
      WHEN o.type LIKE '% column' THEN 'COLUMN ' || o.identity
      WHEN o.type = 'table constraint' THEN 'CONSTRAINT ' || o.identity
      WHEN o.type = 'domain constraint'
        THEN 'CONSTRAINT ' || regexp_replace(o.identity,
          ' on (?=[^"]*$|"[^"]*"\\.|[^ ]*$)', ' ON DOMAIN ')
      WHEN o.type = 'composite type' THEN 'TYPE ' || o.identity
      ELSE upper(o.type) || ' ' || o.identity END, d.description) AS sql
  FROM pg_description d
  CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
  LEFT JOIN pg_namespace n ON n.nspname = coalesce(o.schema,
    CASE WHEN o.type = 'schema' THEN o.name
      ELSE split_part(regexp_replace(o.identity, '^.* on ', ''), '.', 1) END)
  WHERE d.objoid >= 16384 AND n.oid IS NOT NULL AND ${userSchema}
    AND o.type NOT IN ('materialized view', 'extension', 'foreign table', 'foreign table column')
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classoid AND e.objid = d.objoid
                    AND e.deptype = 'e')
    AND NOT (d.classoid = 'pg_class'::regclass AND d.objoid IN ${homeOnlyOids})
  ORDER BY d.classoid, d.objoid, d.objsubid`

type Owned = {
  /** As GRANT and ALTER … OWNER call it. */
  readonly what: string
  readonly named: string
  readonly owner: string
  readonly acl: string
  readonly from: string
  /** True for one whose owner is another object's. */
  readonly follows: string
}

const relationKind = `CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END`

const ownedObjects: readonly Owned[] = [
  {
    what: `'SCHEMA'`,
    named: `format('%I', n.nspname)`,
    owner: 'n.nspowner',
    acl: 'n.nspacl',
    from: `pg_namespace n WHERE ${userSchema} AND NOT ${ofExtension('pg_namespace', 'n.oid')}`,
    follows: 'false',
  },
  {
    what: relationKind,
    named: relation,
    owner: 'c.relowner',
    acl: 'c.relacl',
    from: `pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'S') AND c.relpersistence <> 't' AND ${userSchema}
        AND NOT ${ofExtension('pg_class', 'c.oid')} AND c.oid NOT IN ${homeOnlyOids}`,
    follows: `EXISTS (SELECT FROM pg_depend i WHERE i.classid = 'pg_class'::regclass
      AND i.objid = c.oid AND i.deptype IN ('i', 'a') AND c.relkind = 'S' AND i.refobjsubid > 0)`,
  },
  {
    what: `'ROUTINE'`,
    named: 'p.oid::regprocedure',
    owner: 'p.proowner',
    acl: 'p.proacl',
    from: userRoutines(),
    follows: 'false',
  },
  {
    what: `'TYPE'`,
    named: typeName,
    owner: 't.typowner',
    acl: 't.typacl',
    from: `pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
      WHERE ${userSchema} AND NOT ${ofExtension('pg_type', 't.oid')}
        AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND EXISTS (
          SELECT FROM pg_class k WHERE k.oid = t.typrelid AND k.relkind = 'c'))`,
    follows: 'false',
  },
]

const role = (oid: string) => `CASE WHEN ${oid} = 0 THEN 'PUBLIC'
  ELSE (SELECT format('%I', r.rolname) FROM pg_roles r WHERE r.oid = ${oid}) END`

/** What everybody may do by default is taken away first; the owner's own rights need no words. */
const revocations = ({ what, named, acl, from }: Owned) => `
  SELECT 'grant' AS kind, ${what} || ' ' || ${named} AS name,
    format('REVOKE ALL ON %s %s FROM PUBLIC', ${what}, ${named}) AS sql
  FROM ${from} AND ${acl} IS NOT NULL`

const grants = ({ what, named, owner, acl, from }: Owned) => `
  SELECT 'grant' AS kind, o.what || ' ' || o.named AS name,
    format('GRANT %s ON %s %s TO %s%s', e.privilege_type, o.what, o.named, ${role('e.grantee')},
      CASE WHEN e.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS sql
  FROM (SELECT ${what} AS what, ${named} AS named, ${owner} AS owner, ${acl} AS acl
        FROM ${from} AND ${acl} IS NOT NULL) o, aclexplode(o.acl) e
  WHERE e.grantee <> o.owner`

/** A sequence that belongs to a column follows its table's owner. */
const owners = ({ what, named, owner, from, follows }: Owned) => `
  SELECT 'owner' AS kind, ${what} || ' ' || ${named} AS name,
    format('ALTER %s %s OWNER TO %s', ${what}, ${named}, ${role(owner)}) AS sql
  FROM ${from} AND NOT ${follows}`

const columnGrants = parts('grant', {
  name: `format('COLUMN %s.%I', ${relation}, a.attname)`,
  sql: `format('GRANT %s (%I) ON %s TO %s', e.privilege_type, a.attname, ${relation},
    ${role('e.grantee')})`,
  from: `pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
    CROSS JOIN LATERAL aclexplode(a.attacl) e
    WHERE c.relkind IN ('r', 'p', 'v') AND ${userSchema} AND e.grantee <> c.relowner
      AND NOT ${ofExtension('pg_class', 'c.oid')} AND c.oid NOT IN ${homeOnlyOids}`,
  order: 'c.oid, a.attnum',
})

/** In this order: who gives a table away can grant nothing on it any more. */
export const rightParts: readonly string[] = [
  comments,
  ...ownedObjects.map(revocations),
  ...ownedObjects.map(grants),
  columnGrants,
  ...ownedObjects.map(owners),
]
