<?php
// PHP's PDO with its pgsql driver: prepared by the server or emulated, COPY, notifications. One line of JSON per step.
$dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s', getenv('PGHOST'), getenv('PGPORT'), getenv('PGDATABASE'));

function connect(array $options = []): PDO
{
    global $dsn;
    $standard = [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC];
    return new PDO($dsn, getenv('PGUSER'), getenv('PGPASSWORD'), $options + $standard);
}

function error_of(callable $work): array
{
    try {
        $work();
    } catch (PDOException $error) {
        return [$error->errorInfo[0], $error->errorInfo[2]];
    }
    throw new LogicException('an error was expected');
}

function all(PDO $db, string $sql, array $values = []): array
{
    $statement = $db->prepare($sql);
    $statement->execute($values);
    return $statement->fetchAll();
}

$db = connect();
$steps = [];

$steps['version'] = fn () => sprintf('%s (libpq %s)', PHP_VERSION, $db->getAttribute(PDO::ATTR_CLIENT_VERSION));

$steps['tables'] = function () use ($db) {
    $db->exec('CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0)');
    $insert = $db->prepare('INSERT INTO items (id, name) VALUES (:id, :name)');
    $db->beginTransaction();
    for ($n = 0; $n < 500; $n += 1) {
        $insert->execute(['id' => $n, 'name' => "item $n"]);
    }
    $db->commit();
    return all($db, 'SELECT count(*), max(name) FROM items');
};

$steps['types'] = function () use ($db) {
    $statement = $db->prepare("SELECT ?::int8 AS big, 0.1::float8 AS ratio, ?::numeric AS amount, ?::text AS label,
        ?::boolean AS flag, ?::timestamptz AS at, ?::date AS day, ?::uuid AS token, ?::jsonb AS doc, ?::text[] AS words,
        ?::bytea AS data, ?::int AS missing");
    $values = [PHP_INT_MAX, '12345678901234.567891', "naïve \"quotes\" \\ and ' and\n€", true,
        '2024-02-29 12:34:56.789012+00', '1999-12-31', '9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11',
        '{"nested": [1, "two", null]}', '{one,"with, comma"}'];
    foreach ($values as $at => $value) {
        $statement->bindValue($at + 1, $value, is_bool($value) ? PDO::PARAM_BOOL : PDO::PARAM_STR);
    }
    $statement->bindValue(10, "\x00\x01\\'\xff", PDO::PARAM_LOB);
    $statement->bindValue(11, null, PDO::PARAM_NULL);
    $statement->execute();
    $row = $statement->fetch();
    $row['data'] = bin2hex(stream_get_contents($row['data']));
    return [$row, array_map('gettype', $row), $statement->getColumnMeta(0)['native_type']];
};

$steps['transactions'] = function () use ($db) {
    $db->beginTransaction();
    $db->exec('UPDATE items SET n = 1 WHERE id = 1');
    $db->exec('SAVEPOINT before');
    $seen = error_of(fn () => $db->exec('UPDATE items SET n = 1 / 0'));
    $db->exec('ROLLBACK TO before');
    $db->commit();
    $db->beginTransaction();
    $gone = $db->exec('DELETE FROM items');
    $inside = $db->inTransaction();
    $db->rollBack();
    return [$seen, $gone, $inside, all($db, 'SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id')];
};

$steps['fail'] = fn () => [
    error_of(fn () => $db->exec("INSERT INTO items VALUES (1, 'x')")),
    error_of(fn () => $db->query('SELECT nothing FROM items')),
    error_of(fn () => all($db, 'SELECT ?::int', ['x'])),
    error_of(fn () => $db->exec('nonsense')),
];

$steps['prepared'] = function () {
    $seen = [];
    foreach ([[], [PDO::ATTR_EMULATE_PREPARES => true], [PDO::ATTR_PERSISTENT => true]] as $options) {
        $mine = connect($options);
        $statement = $mine->prepare('SELECT name FROM items WHERE id = ?');
        for ($n = 0; $n < 12; $n += 1) {
            $statement->execute([$n]);
            $seen[] = $statement->fetchColumn();
        }
    }
    return $seen;
};

$steps['batch'] = function () use ($db) {
    $seen = $db->exec('UPDATE items SET n = 5 WHERE id = 2; UPDATE items SET n = 6 WHERE id IN (3, 4)');
    $error = error_of(fn () => $db->exec('UPDATE items SET n = 99; SELECT 1 / 0'));
    return [$seen, $error, all($db, 'SELECT id, n FROM items WHERE n > 2 ORDER BY id')];
};

$steps['copy'] = function () use ($db) {
    $lines = array_map(fn ($n) => "$n\tcopied $n\t$n", range(1000, 1199));
    $said = $db->pgsqlCopyFromArray('items', $lines);
    $out = $db->pgsqlCopyToArray('items (id, name)');
    sort($out);
    $broken = error_of(fn () => $db->pgsqlCopyFromArray('items', ["5000\tfine\t1", "1\tthere already\t1"]));
    return [$said, count($out), array_slice($out, 0, 3), $broken, all($db, 'SELECT count(*) FROM items')];
};

$steps['parts'] = function () use ($db) {
    $db->beginTransaction();
    $statement = $db->prepare('SELECT id FROM items ORDER BY id', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
    $statement->execute();
    $seen = [$statement->fetch(), $statement->fetch(PDO::FETCH_ASSOC, PDO::FETCH_ORI_LAST)];
    $seen[] = $statement->fetch(PDO::FETCH_ASSOC, PDO::FETCH_ORI_PRIOR);
    $statement->closeCursor();
    $db->commit();
    return $seen;
};

$steps['settings'] = function () use ($db) {
    $mine = connect();
    $mine->exec("SET TIME ZONE 'Asia/Kathmandu'");
    $mine->exec("SET application_name = 'mine'");
    $names = ['TimeZone', 'application_name'];
    $show = fn (PDO $of) => array_map(fn ($name) => $of->query("SHOW $name")->fetchColumn(), $names);
    return [$show($mine), $show($db)];
};

$steps['listen'] = function () use ($db) {
    $mine = connect();
    $mine->exec('LISTEN shop');
    $db->exec("NOTIFY shop, 'one'");
    $db->exec("SELECT pg_notify('shop', 'two')");
    $seen = [];
    while (count($seen) < 2) {
        $heard = $mine->pgsqlGetNotify(PDO::FETCH_ASSOC, 10_000);
        $seen[] = [$heard['message'], $heard['payload']];
    }
    return $seen;
};

foreach ($steps as $name => $step) {
    echo json_encode(['step' => $name, 'seen' => $step()], JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE), "\n";
}
