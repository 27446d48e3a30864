-- One connection writes, and asks how far the shard is now.
UPDATE tenants SET name = 'Ada & Sons' WHERE tenant_id = 1;
SELECT current_setting('ringfence.session_token') AS token \gset

-- Another one, at this proxy or any other, knows nothing of that, until it is told.
\connect
SET ringfence.session_token = :'token';
SELECT name FROM tenants WHERE tenant_id = 1;
