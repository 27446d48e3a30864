SHOW ringfence.consistency;                                                        -- session
UPDATE tenants SET plan = 'free' WHERE tenant_id = 2;
SELECT plan FROM tenants WHERE tenant_id = 2;                                      -- free

-- One statement asks for less: it may see the plan of before.
SELECT plan FROM tenants WHERE tenant_id = 2 /* ringfence:consistency=eventual */; -- any

-- All that follow ask for everything, so for the primary.
SET ringfence.consistency = 'strong';
SELECT plan FROM tenants WHERE tenant_id = 2;                                      -- free

-- To whoever has written and seen nothing yet, a replica may show the plan of before, the primary never does.
\connect
SELECT plan FROM tenants WHERE tenant_id = 2 /* ringfence:replica */;              -- any
SELECT plan FROM tenants WHERE tenant_id = 2 /* ringfence:primary */;              -- free
