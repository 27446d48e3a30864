-- A connection that works for one user.
SET ringfence.session_id = 'user-42';
UPDATE tenants SET plan = 'team' WHERE tenant_id = 1;

-- Another one, of a pool that works for everybody: each statement says for whom.
\connect
SELECT plan FROM tenants WHERE tenant_id = 1 /* ringfence:session_id=user-42 */;
