"""asyncpg: everything binary, prepared and cached; its pool resets connections; cursors, COPY, NOTIFY."""
import asyncio
import datetime
import decimal
import uuid

import asyncpg

import observing

where = observing.target()
columns = "id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0"


async def main(pool):
    steps = {
        "tables": tables,
        "types": types,
        "transactions": transactions,
        "fail": fail,
        "prepared": prepared,
        "batch": batch,
        "copy": copy,
        "parts": parts,
        "cancel": cancel,
        "listen": listen,
        "settings": settings,
        "crowd": crowd,
        "ddl": ddl,
    }
    observing.say("version", asyncpg.__version__)
    for name, step in steps.items():
        observing.say(name, await step(pool))


async def tables(pool):
    await pool.execute(f"CREATE TABLE items ({columns})")
    rows = [(n, f"item {n}") for n in range(500)]
    await pool.executemany("INSERT INTO items (id, name) VALUES ($1, $2)", rows)
    return list(await pool.fetchrow("SELECT count(*), max(name) FROM items"))


async def types(pool):
    values = {
        "int2": -32768,
        "int4": 2**31 - 1,
        "int8": 2**63 - 1,
        "float8": 0.1,
        "numeric": decimal.Decimal("12345678901234.567891"),
        "text": "naïve \"quotes\" \\ and ' and\n€",
        "bool": True,
        "timestamptz": datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc),
        "timestamp": datetime.datetime(2024, 2, 29, 12, 34, 56),
        "date": datetime.date(1999, 12, 31),
        "time": datetime.time(1, 2, 3),
        "interval": datetime.timedelta(days=3, microseconds=5),
        "uuid": uuid.UUID("9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11"),
        "jsonb": '{"nested": [1, "two", null]}',
        "text[]": ["one", "with, comma", 'quote"d', None],
        "int4[]": [1, -2, 3],
        "bytea": bytes([0, 1, 92, 39, 255]),
        "int4range": asyncpg.Range(1, 5),
    }
    casts = ", ".join(f"${n}::{name}" for n, name in enumerate(values, 1))
    async with pool.acquire() as connection:
        await connection.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        await connection.execute("CREATE TYPE pair AS (a integer, b mood)")
        row = await connection.fetchrow(f"SELECT {casts}", *values.values())
        moods = await connection.fetchrow("SELECT $1::mood[], $2::pair", ["sad", "happy"], (1, "happy"))
        return [[[repr(value), type(value).__name__] for value in row], repr(moods)]


async def transactions(pool):
    async with pool.acquire() as connection:
        async with connection.transaction(isolation="repeatable_read"):
            await connection.execute("UPDATE items SET n = 1 WHERE id = 1")
            try:
                async with connection.transaction():
                    await connection.execute("UPDATE items SET n = 2 WHERE id = 1")
                    await connection.execute("SELECT 1 / 0")
            except asyncpg.DivisionByZeroError as error:
                seen = str(error)
            level = await connection.fetchval("SHOW transaction_isolation")
        try:
            async with connection.transaction():
                await connection.execute("DELETE FROM items")
                raise ValueError("given up")
        except ValueError:
            pass
        rows = await connection.fetch("SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id")
        return [seen, level, [list(row) for row in rows]]


async def error_of(work):
    try:
        await work
    except asyncpg.PostgresError as error:
        return [type(error).__name__, error.sqlstate, str(error)]
    raise AssertionError("an error was expected")


async def fail(pool):
    return [
        await error_of(pool.execute("INSERT INTO items VALUES (1, 'x')")),
        await error_of(pool.fetch("SELECT nothing FROM items")),
        await error_of(pool.fetch("SELECT 1 / $1::int", 0)),
        await error_of(pool.execute("nonsense")),
    ]


async def prepared(pool):
    seen = []
    for _ in range(3):
        connection = await asyncpg.connect()
        statement = await connection.prepare("SELECT name FROM items WHERE id = $1")
        for n in range(12):
            seen.append(await statement.fetchval(n))
            seen.append(await connection.fetchval("SELECT n FROM items WHERE id = $1", n))
        await connection.close()
    return seen


async def ddl(pool):
    """The server refuses a plan whose columns have changed; asyncpg then prepares the statement anew."""
    shape = "SELECT * FROM items WHERE id = $1"
    async with pool.acquire() as connection:
        before = list(await connection.fetchrow(shape, 7))
        await connection.execute("ALTER TABLE items ADD COLUMN more text DEFAULT 'm'")
        try:
            after = list(await connection.fetchrow(shape, 7))
        except Exception as error:
            after = str(error)
        await connection.reload_schema_state()
        return [before, after, list(await connection.fetchrow(shape, 7))]


async def batch(pool):
    async with pool.acquire() as connection:
        rows = [(n, n) for n in range(300)]
        await connection.executemany("UPDATE items SET n = n + $2 WHERE id = $1 AND id > 1", rows)
        broken = [(n, 1) for n in range(600, 700)] + [(1, 1)]
        insert = "INSERT INTO items (id, name, n) VALUES ($1, 'x', $2)"
        seen = await error_of(connection.executemany(insert, broken))
        said = await connection.execute("UPDATE items SET n = 0 WHERE id = 2; SELECT 1; DELETE FROM items WHERE id > 490")
        return [seen, said, list(await connection.fetchrow("SELECT count(*), sum(n) FROM items"))]


async def copy(pool):
    async with pool.acquire() as connection:
        rows = [(n, f"copied\t{n}", n) for n in range(1000, 1200)]
        said = await connection.copy_records_to_table("items", records=rows, columns=["id", "name", "n"])
        parts = []

        async def take(data):
            parts.append(data)

        query = "SELECT id, name FROM items WHERE id >= $1 ORDER BY id LIMIT 3"
        out = await connection.copy_from_query(query, 1000, output=take, format="csv")
        broken = [(5000, "fine", 1), (1, "there already", 1)]
        error = await error_of(connection.copy_records_to_table("items", records=broken, columns=["id", "name", "n"]))
        return [said, out, b"".join(parts).decode(), error, await connection.fetchval("SELECT count(*) FROM items")]


async def parts(pool):
    async with pool.acquire() as connection, connection.transaction():
        ids = [row[0] async for row in connection.cursor("SELECT id FROM items ORDER BY id", prefetch=37)]
        cursor = await connection.cursor("SELECT id FROM items ORDER BY id")
        await cursor.forward(10)
        some = [row[0] for row in await cursor.fetch(3)]
        return [len(ids), sum(ids), some]


async def cancel(pool):
    async with pool.acquire() as connection:
        try:
            await connection.fetch("SELECT pg_sleep(20)", timeout=0.5)
        except asyncio.TimeoutError:
            seen = "timeout"
        return [seen, await connection.fetchval("SELECT 1")]


async def listen(pool):
    heard = asyncio.Queue()
    connection = await asyncpg.connect()
    await connection.add_listener("shop", lambda _c, _pid, channel, payload: heard.put_nowait([channel, payload]))
    async with pool.acquire() as other, other.transaction():
        await other.execute("NOTIFY shop, 'one'")
        await other.execute("SELECT pg_notify('shop', 'two')")
    seen = [await asyncio.wait_for(heard.get(), 10) for _ in range(2)]
    await connection.close()
    return seen


async def settings(pool):
    mine = {"search_path": "pg_catalog", "statement_timeout": "9s", "application_name": "mine"}
    connection = await asyncpg.connect(server_settings=mine)
    await connection.execute("SET TIME ZONE 'Asia/Kathmandu'")
    names = (*mine, "TimeZone")
    seen = [await connection.fetchval(f"SHOW {name}") for name in names]
    others = [await pool.fetchval(f"SHOW {name}") for name in names]
    heard = connection.get_settings().TimeZone
    await connection.close()
    return [seen, others, heard]


async def crowd(pool):
    async def raise_one():
        async with pool.acquire() as connection, connection.transaction():
            n = await connection.fetchval("SELECT n FROM items WHERE id = 1 FOR UPDATE") + 1
            await connection.execute("UPDATE items SET n = $1 WHERE id = 1", n)
            return n

    return sorted(await asyncio.gather(*(raise_one() for _ in range(observing.CROWD))))


async def program():
    async with asyncpg.create_pool(min_size=1, max_size=20) as pool:
        await main(pool)


asyncio.run(program())
